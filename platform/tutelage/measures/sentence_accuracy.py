"""The share of sentences whose intent and all of whose slots are right."""

from __future__ import annotations

from tutelage.measure import Measure, neg_log10_error

MEASURE = Measure(
    name="sentence_accuracy",
    label="sentence accuracy",
    unit="share",
    direction="maximise",
    meaning="share of sentences whose intent and all of whose tokens' slot labels are right (frame accuracy)",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    available="each_epoch",
    spread="share",
)
