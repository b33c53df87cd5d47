"""The multiply–accumulates of one example."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="macs",
    label="multiply–accumulates",
    unit="multiply–accumulates",
    direction="minimise",
    meaning="multiply–accumulates of one example in matrix and convolution products; no measure of time",
    low=0.0,
    scale=log10,
    available="before_training",
    format=",.0f",
    mlflow_key="cost/macs",
)
