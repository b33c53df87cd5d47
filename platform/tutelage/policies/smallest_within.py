"""The smallest whose primary measure is at most so much worse than the best one's, or the teacher's."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tutelage.plugins import PluginConfig
from tutelage.policies import NEVER, Front, Scores, SelectionContext, size_bytes
from tutelage.records.trial import TrialRecord

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """How far from what."""

    within: float = Field(
        0.01, ge=0, description="how much worse it may be, in the unit of the primary measure: of a share, 0.01 is a point"
    )
    of: Literal["best", "teacher"] = Field("best", description="what it is compared with: the best student, or the teacher")


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the bytes, negative; those too far from the goal are never taken."""
    gain_sign = -context.primary.sign
    least = gain_sign * _goal(config, front, context) - config.within - 1e-12  # a bound is met by what equals it
    qualities = context.quality_scores(front)
    return np.array([-size_bytes(one) if own >= least else NEVER for one, own in zip(front, qualities, strict=True)])


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    goal = _goal(config, front, context)
    who = "the teacher's" if config.of == "teacher" else "the best student's"
    quality = context.quality.rstrip(",")
    return (
        f"at {size_bytes(record):,.0f} bytes it is the smallest of {len(front)} whose {quality}, here "
        f"{context.primary.text(context.quality_of(record))}, is within {config.within:g} of {who} {context.primary.text(goal)}"
    )


def _goal(config: Config, front: Front, context: SelectionContext) -> float:
    if config.of == "teacher":
        return context.teacher[context.primary.name]
    return -context.primary.sign * float(context.quality_scores(front).max())
