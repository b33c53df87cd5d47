"""The character error rate: how many edits the recognised lines are away from the true ones (Levenshtein, 1966)."""

from __future__ import annotations

import math

from tutelage.measure import SMALLEST, Array, Measure


def edits_per_character(contributions: Array) -> float:
    """Return all edits over the number of true characters, from (edits, characters) of each line `[n, 2]`."""
    edits, characters = contributions.sum(axis=0)
    return float(edits / max(characters, 1.0))


def log10_raised(rate: float) -> float:
    """Return the decimal logarithm of a rate raised by a thousandth: halving the rate is one equal step."""
    return math.log10(rate + SMALLEST)


MEASURE = Measure(
    name="character_error_rate",
    label="character error rate",
    unit="edits a character",
    direction="minimise",
    meaning="characters that are inserted, deleted or replaced to make the true lines of the recognised ones, over all true "
    "characters",
    low=0.0,
    scale=log10_raised,
    reference=1.0,
    available="each_epoch",
    spread="corpus",
    aggregate=edits_per_character,
)
