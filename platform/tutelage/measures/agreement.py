"""The share of steps at which student and teacher have the same most likely class."""

from __future__ import annotations

from tutelage.measure import Measure, neg_log10_error

MEASURE = Measure(
    name="agreement",
    label="agreement with the teacher",
    unit="share",
    direction="maximise",
    meaning="share of steps at which student and teacher have the same most likely class",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    spread="mean",
    detail=True,
)
