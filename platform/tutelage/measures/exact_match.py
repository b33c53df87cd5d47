"""The share of lines that are recognised without an error."""

from __future__ import annotations

from tutelage.measure import Measure, neg_log10_error

MEASURE = Measure(
    name="exact_match",
    label="exact match",
    unit="share",
    direction="maximise",
    meaning="share of lines that are recognised without an error",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    available="each_epoch",
    spread="share",
)
