"""The median time of one example."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="latency_ms",
    label="latency",
    unit="ms",
    direction="minimise",
    meaning="median time of one example on one CPU thread, measured in turn with the others",
    low=0.0,
    scale=log10,
    available="on_device",
    format=".4g",
    mlflow_key="cost/latency_ms",
)
