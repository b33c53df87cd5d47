"""The bytes of the exported weights."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="size_bytes",
    label="size",
    unit="bytes",
    direction="minimise",
    meaning="bytes of the exported weights and buffers at their own precision, before compression",
    low=0.0,
    scale=log10,
    available="before_training",
    format=",.0f",
    mlflow_key="size/bytes",
)
