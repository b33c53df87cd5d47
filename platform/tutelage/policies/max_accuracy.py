"""The most accurate; of equals the smallest."""

from __future__ import annotations

import numpy as np

from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """Nothing to set."""


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the accuracies."""
    return np.array([record.measures["accuracy"] for record in front])


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    return f"it is the most accurate of {len(front)}, with {context.said_of_accuracy} {record.measures['accuracy']:.4f}"
