"""The loss of the last epoch's training steps."""

from __future__ import annotations

from tutelage.measure import Measure

MEASURE = Measure(
    name="train_loss",
    label="training loss",
    unit="nats",
    direction="minimise",
    meaning="mean loss of the training steps of an epoch, with all its terms",
    available="each_epoch",
    format=".4g",
    mlflow_key="train/train_loss",
)
