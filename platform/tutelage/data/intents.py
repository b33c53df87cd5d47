"""Sentences with an intent each, from the same folders as `slots`: the intent is the class of the text."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.data import Examples, SplitName, slots
from tutelage.signature import InputSpec

SPACE = slots.SPACE


class Config(slots.Config):
    """The options of `slots`."""


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: ragged `tokens` as `slots` has them, and the target `class`, the intent; raises as `slots` does."""
    return _without_slots(slots.read(config, seed, split))


def read_as(config: Config, seed: int, split: SplitName, inputs: Sequence[InputSpec]) -> Examples:
    """Return one split with the vocabulary of a network; words that it lacks are the unknown word."""
    return _without_slots(slots.read_as(config, seed, split, inputs))


def _without_slots(examples: Examples) -> Examples:
    return Examples(inputs=examples.inputs, targets={"class": examples.targets["intent"]}, notes=examples.notes)
