"""The vocabulary of a training split, and sentences as the indices of their words, or of words with their characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import torch

from tutelage.data import Ragged, ragged
from tutelage.errors import InputError
from tutelage.signature import NO_CHARACTER, UNKNOWN_TOKEN, InputSpec, character_name, character_of


class _Config(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def least_count(self) -> int: ...
    @property
    def characters(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The index of every token: the unknown word, the known ones and, if `characters` > 0, no character and the known ones.

    `characters` is how many tokens of characters stand beside each word; `source` says which words are known.
    """

    table: Mapping[str, int]
    characters: int
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tokens in the order of their indices."""
        return tuple(self.table)

    def indices(self, sentences: Sequence[Sequence[str]]) -> Ragged:
        """Return the indices of the words of each sentence, int64 `[total]`; 0 for a word that is not known.

        With characters, `[total, 1 + characters]`: behind each word stand those of its first characters, 0 for an unknown
        one, and that of no character behind its last one.
        """
        if not self.characters:
            return indices_of(sentences, self.table)
        letters = {character: index for name, index in self.table.items() if (character := character_of(name)) is not None}
        none = letters[NO_CHARACTER]
        spelled = {
            word: [self.table.get(word, 0), *self._padded([letters.get(one, 0) for one in word], none)]
            for word in {*chain.from_iterable(sentences)}
        }
        return ragged([torch.tensor([spelled[word] for word in one]) for one in sentences])

    def _padded(self, letters: list[int], none: int) -> list[int]:
        return [*letters, *[none] * self.characters][: self.characters]

    def note(self, sentences: Sequence[Sequence[str]], split: str) -> str:
        """Return how many words are known, and what share of a split's words is not, as a sentence."""
        unknown = sum(word not in self.table for one in sentences for word in one) / sum(map(len, sentences))
        words = sum(character_of(name) is None for name in self.table) - 1 if self.characters else len(self.table) - 1
        return f"vocabulary: {words:,} words {self.source}; {unknown:.1%} of the words of {split} are unknown"


def vocabulary_of(sentences: Iterable[Sequence[str]], config: _Config) -> Vocabulary:
    """Return the vocabulary of training: the words that stand `least_count` times or more, and all characters, each sorted.

    Raises `InputError` for one without a word and without characters, in which all sentences of a length are the same.
    """
    counted = Counter(chain.from_iterable(sentences))
    known = sorted(word for word, count in counted.items() if count >= config.least_count and word != UNKNOWN_TOKEN)
    if not known and not config.characters:
        raise InputError(
            f"{config.path}: none of {len(counted):,} words stands {config.least_count} times in training (the option "
            "'least_count'), so that each word would be the unknown word. Lower it, give more sentences, or set 'characters'. "
            "Words are separated by blanks."
        )
    characters = [NO_CHARACTER, *sorted(set("".join(counted)))] if config.characters else []
    names = (UNKNOWN_TOKEN, *known, *map(character_name, characters))
    source = f"that stand {config.least_count} times or more in training"
    return Vocabulary(table=_numbered(names), characters=config.characters, source=source)


def vocabulary_as(inputs: Sequence[InputSpec]) -> Vocabulary | None:
    """Return the vocabulary of a network that takes tokens; None for a network without an unknown word."""
    names, shape = inputs[0].names, inputs[0].shape
    characters = int(shape[1]) - 1 if len(shape) > 1 else 0
    found = Vocabulary(table=_numbered(names), characters=characters, source="of the network")
    return found if names[:1] == (UNKNOWN_TOKEN,) else None


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def indices_of(sentences: Sequence[Sequence[str]], table: Mapping[str, int]) -> Ragged:
    """Return the indices of the words of each sentence, int64; 0 for a word that is not in `table`."""
    return ragged([torch.tensor([table.get(word, 0) for word in one]) for one in sentences])
