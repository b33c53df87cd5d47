"""The vocabulary of a training split, and sentences as the indices of their words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch

from tutelage.data import Ragged, ragged
from tutelage.signature import InputSpec

UNKNOWN_WORD = "<unknown>"


def vocabulary_of(sentences: Iterable[Sequence[str]], least_count: int) -> dict[str, int]:
    """Return the index of every word that stands `least_count` times or more, sorted; the unknown word has index 0."""
    counted = Counter(word for one in sentences for word in one)
    known = sorted(word for word, count in counted.items() if count >= least_count and word != UNKNOWN_WORD)
    return {word: number for number, word in enumerate((UNKNOWN_WORD, *known))}


def vocabulary_as(inputs: Sequence[InputSpec]) -> dict[str, int] | None:
    """Return the vocabulary of a network that takes tokens; None for a network without an unknown word."""
    names = inputs[0].names
    return {word: number for number, word in enumerate(names)} if names[:1] == (UNKNOWN_WORD,) else None


def indices_of(sentences: Sequence[Sequence[str]], table: Mapping[str, int]) -> Ragged:
    """Return the indices of the words of each sentence, int64; 0 for a word that is not in `table`."""
    return ragged([torch.tensor([table.get(word, 0) for word in one]) for one in sentences])


def note_on_words(
    sentences: Sequence[Sequence[str]], split: str, vocabulary: Mapping[str, int], least_count: int | None
) -> str:  # fmt: skip
    """Return how many words are known, and what share of a split's words is not, as a sentence.

    Words are known that stand `least_count` times in training; None: those of a network.
    """
    source = f"that stand {least_count} times or more in training" if least_count else "of the network"
    unknown = sum(word not in vocabulary for one in sentences for word in one) / sum(map(len, sentences))
    return f"vocabulary: {len(vocabulary) - 1:,} words {source}; {unknown:.1%} of the words of {split} are unknown"
