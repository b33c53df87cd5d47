"""The best balance by weights: the least weighted distance from the best of every objective."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tutelage.errors import InputError, nearest
from tutelage.plugins import PluginConfig
from tutelage.policies import Front, Scores, SelectionContext, scaled_losses
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}
AUGMENTATION = 0.05  # of the sum beside the largest: non-dominated students keep different scores


class Config(PluginConfig):
    """How much each objective counts."""

    weights: dict[str, float] = Field(
        default_factory=dict, description="objective: weight, such as {accuracy: 2, params: 1}; one not named has 1"
    )


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the augmented weighted Chebyshev distance to the front's best values, negative (Steuer and Choo, 1983).

    Each loss is scaled to [0, 1] over the front, sizes and errors as logarithms. Unlike a weighted sum it reaches students
    in the hollows of a front. Raises `InputError` for a weight of what is no objective, or below 0.
    """
    terms = scaled_losses(front, context) * _weights(config, context)
    distances: Scores = terms.max(axis=1) + AUGMENTATION * terms.sum(axis=1)
    return -distances


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    weights = zip(context.objectives, _weights(config, context), strict=True)
    named = ", ".join(f"{o.name} {context.values(record)[o.name]:,.4g} (weight {weight:g})" for o, weight in weights)
    return f"of {len(front)} it is nearest to the best of every objective at once: {named}"


def _weights(config: Config, context: SelectionContext) -> Scores:
    names = [objective.name for objective in context.objectives]
    for name, weight in config.weights.items():
        if name not in names:
            raise InputError(f"no objective '{name}' to weigh.{nearest(name, names)} The sweep's: {', '.join(names)}.")
        if weight < 0:
            raise InputError(f"the weight of {name} is {weight:g}. Weights are at least 0; 0 leaves an objective out.")
    return np.array([config.weights.get(name, 1.0) for name in names])
