"""When a search has had enough: trials, device-hours, or a front that no longer grows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tutelage.records.trial import TrialRecord


@dataclass
class Budget:
    """What a search may spend, and what it has spent.

    `device_hours` are hours of a trial times its `devices`: its GPUs, or its CPUs where it has none. The front has come to a
    plateau when over the last `plateau_trials` ended ones its hypervolume has grown by less than the share `plateau_gain`.
    """

    device_hours: float | None = None
    devices: float = 1.0
    plateau_trials: int | None = None
    plateau_gain: float = 0.0
    spent_device_hours: float = 0.0
    _counted_s: dict[int, float] = field(default_factory=dict)  # by trial

    def learn(self, record: TrialRecord) -> None:
        """Count what a trial took until it ended or was paused; a trial that continues has taken that already."""
        more_s = record.elapsed_s - self._counted_s.get(record.number, 0.0)
        self._counted_s[record.number] = record.elapsed_s
        self.spent_device_hours += more_s * self.devices / 3600

    def why_over(self, hypervolumes: Sequence[float]) -> str:
        """Return in words why nothing more is begun, by the hypervolume after each ended trial; "" while something may be."""
        if self.device_hours is not None and self.spent_device_hours >= self.device_hours:
            return f"{self.spent_device_hours:.3g} device-hours are spent, of {self.device_hours:g}"
        if self.plateau_trials is None or len(hypervolumes) <= self.plateau_trials:
            return ""
        before, now = hypervolumes[-1 - self.plateau_trials], hypervolumes[-1]
        if before > 0 and now < before * (1 + self.plateau_gain):
            return f"the hypervolume grew from {before:.6g} to {now:.6g} over the last {self.plateau_trials} trials"
        return ""
