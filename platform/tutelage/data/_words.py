"""The vocabulary of a training split, and sentences as the indices of their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch

from tutelage.data import Ragged, ragged

UNKNOWN_WORD = "<unknown>"


def vocabulary_of(sentences: Iterable[Sequence[str]], least_count: int) -> dict[str, int]:
    """Return the index of every word that stands `least_count` times or more, sorted; the unknown word has index 0."""
    counted = Counter(word for one in sentences for word in one)
    known = sorted(word for word, count in counted.items() if count >= least_count and word != UNKNOWN_WORD)
    return {word: number for number, word in enumerate((UNKNOWN_WORD, *known))}


def indices_of(sentences: Sequence[Sequence[str]], table: Mapping[str, int]) -> Ragged:
    """Return the indices of the words of each sentence, int64; 0 for a word that is not in `table`."""
    return ragged([torch.tensor([table.get(word, 0) for word in one]) for one in sentences])


def said_of_words(sentences: Sequence[Sequence[str]], split: str, vocabulary: Mapping[str, int], least_count: int) -> str:
    """Return how many words are known, and what share of a split's words is not, as a sentence."""
    unknown = sum(word not in vocabulary for one in sentences for word in one) / sum(map(len, sentences))
    return (
        f"vocabulary: {len(vocabulary) - 1:,} words that stand {least_count} times or more in training; "
        f"{unknown:.1%} of the words of {split} are unknown"
    )
