"""The number of trainable weights that are not zero."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="nonzero_params",
    label="nonzero parameters",
    unit="parameters",
    direction="minimise",
    meaning="trainable weights that are not exactly zero; zeros save neither bytes nor time by themselves",
    low=0.0,
    scale=log10,
    format=",.0f",
    mlflow_key="size/nonzero_params",
    detail=True,
)
