"""The one without which the front would lose most of its hypervolume."""

from __future__ import annotations

from tutelage import pareto
from tutelage.objectives import reference_losses
from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext, distinct_losses, losses_of
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """Nothing to set."""


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the hypervolume that each student adds, up to the sweep's reference point; equal students add it together."""
    matrix, rows = distinct_losses(front, context)
    found: Scores = pareto.hypervolume_contributions(matrix, reference_losses(context.objectives))[rows]
    return found


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    alone = dict(zip([one.trial_id for one in front], scores(config, front, context), strict=True))[record.trial_id]
    matrix = losses_of(front, context)
    whole = pareto.hypervolume(matrix, reference_losses(context.objectives))
    if not whole:
        best = f"it has the best {context.primary.label}"
        return f"none of {len(front)} is better than the reference point in all objectives; {best}"
    return (
        f"of the hypervolume of {len(front)}, {100 * alone / whole:.2f} % would be gone without it, more than without another"
    )
