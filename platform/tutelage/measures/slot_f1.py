"""F1 of the slots in sentences, by the definition of the CoNLL-2000 shared task (Tjong Kim Sang and Buchholz, 2000)."""

from __future__ import annotations

from tutelage.measure import Array, Measure, neg_log10_error


def micro_f1(contributions: Array) -> float:
    """Return 2 · correct / (found + true) from each sentence's slots (correct, found, true) `[n, 3]`; 1 without any."""
    correct, found, true = contributions.sum(axis=0)
    return float(2 * correct / (found + true)) if found + true else 1.0


MEASURE = Measure(
    name="slot_f1",
    label="slot F1",
    unit="share",
    direction="maximise",
    meaning="F1 of the slots, over all sentences; a slot is right if its type and both its ends are (CoNLL-2000)",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    available="each_epoch",
    spread="corpus",
    aggregate=micro_f1,
)
