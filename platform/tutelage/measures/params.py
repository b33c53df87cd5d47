"""The number of trainable weights."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="params",
    label="parameters",
    unit="parameters",
    direction="minimise",
    meaning="trainable weights of the network as it is exported",
    low=0.0,
    scale=log10,
    available="before_training",
    format=",.0f",
    mlflow_key="size/params",
)
