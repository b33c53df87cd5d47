"""Where the front bends most: the largest distance below the plane through its extremes, sizes on a log scale."""

from __future__ import annotations

import numpy as np

from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext, distinct_losses, scaled
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}
FEWEST = 3  # different students that make a knee


class Config(PluginConfig):
    """Nothing to set."""


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return each student's distance below the plane through the extremes, on axes scaled to [0, 1] (Das, 1999).

    A front of fewer than three different students has no knee; the one with the best primary measure scores highest.
    """
    matrix, rows = distinct_losses(front, context)
    if len(matrix) < FEWEST:
        return context.quality_scores(front)
    for column, objective in enumerate(context.objectives):
        if objective.measure.has_log_axis:
            matrix[:, column] = np.log10(np.maximum(matrix[:, column], 1e-9))
    distances: Scores = (1.0 - scaled(matrix).sum(axis=1)) / np.sqrt(len(context.objectives))
    return np.round(distances, 12)[rows]  # so that rounding decides nothing on a straight front


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    named = ", ".join(f"{o.name} {context.values(record)[o.name]:,.4g}" for o in context.objectives)
    different = len(distinct_losses(front, context)[0])
    if different < FEWEST:
        return f"a front of {different} has no knee, and it has the best {context.primary.label} ({named})"
    return f"the front of {len(front)} bends most there ({named}): beyond it, little is gained for much"
