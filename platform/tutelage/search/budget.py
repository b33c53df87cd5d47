"""When a search ends: by its device-hours, or because its front no longer grows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tutelage.records.trial import TrialRecord


@dataclass
class Budget:
    """The limits of a search, and what it has used.

    `device_hours` are hours of trials times their `devices`: the GPUs of a trial, or its CPUs if it has no GPU. The front has
    reached a plateau when its hypervolume has grown by less than the share `plateau_gain` over the last `plateau_trials`
    trials.
    """

    device_hours: float | None = None
    devices: float = 1.0
    plateau_trials: int | None = None
    plateau_gain: float = 0.0
    spent_device_hours: float = 0.0
    _counted_s: dict[int, float] = field(default_factory=dict)  # by trial

    def learn(self, record: TrialRecord) -> None:
        """Add the time of a trial that ended or was paused; what was counted at an earlier pause is not counted again."""
        more_s = record.elapsed_s - self._counted_s.get(record.number, 0.0)
        self._counted_s[record.number] = record.elapsed_s
        self.spent_device_hours += more_s * self.devices / 3600

    def why_over(self, hypervolumes: Sequence[float]) -> str:
        """Return why no further trial starts, as text, from the hypervolume after each ended trial; "" if trials may start."""
        if self.device_hours is not None and self.spent_device_hours >= self.device_hours:
            return f"{self.spent_device_hours:.3g} of {self.device_hours:g} device-hours are used"
        if self.plateau_trials is None or len(hypervolumes) <= self.plateau_trials:
            return ""
        before, now = hypervolumes[-1 - self.plateau_trials], hypervolumes[-1]
        if before > 0 and now < before * (1 + self.plateau_gain):
            return f"the hypervolume grew from {before:.6g} to {now:.6g} over the last {self.plateau_trials} trials"
        return ""
