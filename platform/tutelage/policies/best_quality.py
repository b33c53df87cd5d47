"""The best by the task's primary measure; of equals the smallest."""

from __future__ import annotations

from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """Nothing to set."""


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the primary measures, higher is better."""
    return context.quality_scores(front)


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    return f"it is the best of {len(front)}, with {context.quality_text(record)}"
