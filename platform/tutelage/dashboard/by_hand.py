"""The policy of a person: it takes the student that was named, if it is on the front."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tutelage.plugins import PluginConfig
from tutelage.policies import NEVER, Front, Scores, SelectionContext
from tutelage.records.trial import TrialRecord


class Chosen:
    """As a policy: `tutelage select SWEEP --policy tutelage.dashboard.by_hand:Chosen --option trial=t0012`."""

    class Config(PluginConfig):
        """Which student."""

        trial: str = Field(description="the student's name")

    @staticmethod
    def scores(config: Config, front: Front, context: SelectionContext) -> Scores:
        """Return 0 for the student that was named; the others are never taken."""
        return np.array([0.0 if record.trial_id == config.trial else NEVER for record in front])

    @staticmethod
    def reason(config: Config, record: TrialRecord, front: Front, context: SelectionContext) -> str:
        """Return why in words."""
        return f"a person chose it, of {len(front)} on the front"
