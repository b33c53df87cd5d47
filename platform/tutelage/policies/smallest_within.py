"""The smallest that is at most so much less accurate than the best one, or than the teacher."""

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

    within: float = Field(0.01, ge=0, le=1, description="accuracy that may be given up, as a share: 0.01 is one point")
    of: Literal["best", "teacher"] = Field("best", description="given up against the most accurate student, or the teacher")


def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
    """Return the bytes, negative; those too far from the goal are never taken."""
    least = _goal(config, front, context) - config.within - 1e-12  # a bound is met by what equals it
    return np.array([-size_bytes(one) if one.measures["accuracy"] >= least else NEVER for one in front])


def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
    """Return why in words."""
    goal = _goal(config, front, context)
    who = "the teacher's" if config.of == "teacher" else "the best student's"
    return (
        f"at {size_bytes(record):,.0f} bytes it is the smallest of {len(front)} whose {context.said_of_accuracy}, here "
        f"{record.measures['accuracy']:.4f}, is within {config.within:g} of {who} {goal:.4f}"
    )


def _goal(config: Config, front: Front, context: SelectionContext) -> float:
    return context.teacher["accuracy"] if config.of == "teacher" else max(one.measures["accuracy"] for one in front)
