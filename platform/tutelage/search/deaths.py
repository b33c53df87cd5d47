"""Which deaths of a trial's worker count as failures of the trial, and which have another cause. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

TOGETHER_S = 5.0  # deaths of several trials within this time have a common cause, such as a lost node
MAX_WITHOUT_PROGRESS = 20  # deaths at any epoch until a trial reaches a new epoch


@dataclass
class _Death:
    """A death: its time, the epoch before it (None: the trial had not started), and whether other trials died with it."""

    at_s: float
    epoch: int | None
    is_shared: bool = False


@dataclass
class _Trial:
    epoch: int = 0
    furthest: int = 0
    is_started: bool = False
    deaths: list[_Death] = field(default_factory=list)


class Deaths:
    """Counts the deaths of trials. A trial fails if its worker dies more than `max_failures` times in a row after one epoch.

    A trial that reaches a new epoch starts with no deaths. Deaths before a trial has started, and deaths at the same time as
    those of other trials, are not counted; but a trial also fails after `MAX_WITHOUT_PROGRESS` deaths of any kind.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._trials: dict[str, _Trial] = {}

    def started(self, trial_id: str) -> None:
        """Record that a worker runs the trial."""
        self._of(trial_id).is_started = True

    def reported(self, trial_id: str, epoch: int) -> None:
        """Record that a trial has reported an epoch."""
        trial = self._of(trial_id)
        trial.epoch = epoch
        if epoch > trial.furthest:
            trial.furthest = epoch
            trial.deaths.clear()

    def died(self, trial_id: str, now_s: float) -> None:
        """Record that a trial's worker has died."""
        trial = self._of(trial_id)
        death = _Death(now_s, trial.epoch if trial.is_started else None)
        for other in self._deaths_of_others(trial_id):
            if now_s - other.at_s <= TOGETHER_S:
                death.is_shared = other.is_shared = True
        trial.deaths.append(death)
        trial.is_started = False

    def ended(self, trial_id: str) -> None:
        """Remove a trial that has ended."""
        self._trials.pop(trial_id, None)

    def count(self, trial_id: str) -> int:
        """Return how often a trial's worker has died since the trial got further than before."""
        return len(self._of(trial_id).deaths)

    def fails_next(self, trial_id: str) -> bool:
        """Return whether the trial would fail if its worker died now."""
        trial = self._of(trial_id)
        if len(trial.deaths) >= MAX_WITHOUT_PROGRESS:
            return True
        own = [death.epoch for death in trial.deaths if not death.is_shared and death.epoch is not None]
        here = next((place for place, epoch in enumerate(reversed(own)) if epoch != trial.epoch), len(own))
        return here >= self._max_failures

    def _of(self, trial_id: str) -> _Trial:
        return self._trials.setdefault(trial_id, _Trial())

    def _deaths_of_others(self, trial_id: str) -> Iterator[_Death]:
        return (death for other, trial in self._trials.items() if other != trial_id for death in trial.deaths)
