"""The time that nine of ten examples take at most."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="latency_p90_ms",
    label="latency, 90th percentile",
    unit="ms",
    direction="minimise",
    meaning="time that nine of ten single examples take at most on one CPU thread",
    low=0.0,
    scale=log10,
    available="on_device",
    format=".4g",
    mlflow_key="cost/latency_p90_ms",
    detail=True,
)
