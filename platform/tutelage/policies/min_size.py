"""The smallest in bytes; of equals the best by its primary measure."""

from __future__ import annotations

import numpy as np

from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext, size_bytes
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """Nothing to set."""


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the bytes, negative."""
    return np.array([-size_bytes(record) for record in front])


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    return f"it is the smallest of {len(front)}, at {size_bytes(record):,.0f} bytes"
