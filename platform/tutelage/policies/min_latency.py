"""The fastest on one example, where the sweep was measured; of equals the best by its primary measure."""

from __future__ import annotations

import numpy as np

from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}
MEASURES = ("latency_ms",)


class Config(PluginConfig):
    """Nothing to set."""


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the median latencies, negative."""
    return np.array([-record.measures["latency_ms"] for record in front])


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    return f"it is the fastest of {len(front)}, at {record.measures['latency_ms']:.4g} ms an example"
