"""The bits that a language model needs for a character of a text."""

from __future__ import annotations

from math import log

from tutelage.measure import Array, Measure


def bits_of(contributions: Array) -> float:
    """Return all bits over all characters, from each example's nats and characters `[n, 2]`; 0 without any."""
    nats, characters = contributions.sum(axis=0)
    return float(nats / log(2.0) / characters) if characters else 0.0


MEASURE = Measure(
    name="bits_per_character",
    label="bits a character",
    unit="bits",
    direction="minimise",
    meaning="cross-entropy of all next tokens in bits, over the number of their characters",
    low=0.0,
    reference=8.0,
    available="each_epoch",
    spread="corpus",
    aggregate=bits_of,
)
