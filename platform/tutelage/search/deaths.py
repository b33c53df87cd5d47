"""Which deaths of a trial's worker are the trial's own failure, and which merely befell it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

TOGETHER_S = 5.0  # deaths of several trials within this time have a cause outside of them: a node, or memory, is gone
MAX_WITHOUT_PROGRESS = 20  # deaths, wherever they are, until a trial gets further than before


@dataclass
class _Death:
    """A death: when, after which epoch (None: before the trial could start), and whether others died with it."""

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
    """Counts the deaths of trials. A trial fails that dies more than `max_failures` times in a row after the same epoch.

    An epoch beyond those that a trial has reached before clears its deaths. Not counted are deaths before the trial could
    start, and deaths with those of other trials; but after `MAX_WITHOUT_PROGRESS` of any kind the trial fails as well.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._trials: dict[str, _Trial] = {}

    def started(self, trial_id: str) -> None:
        """A trial has a worker that runs it."""
        self._of(trial_id).is_started = True

    def reported(self, trial_id: str, epoch: int) -> None:
        """A trial has reported an epoch."""
        trial = self._of(trial_id)
        trial.epoch = epoch
        if epoch > trial.furthest:
            trial.furthest = epoch
            trial.deaths.clear()

    def died(self, trial_id: str, now_s: float) -> None:
        """A trial's worker has died."""
        trial = self._of(trial_id)
        death = _Death(now_s, trial.epoch if trial.is_started else None)
        for other in self._deaths_of_others(trial_id):
            if now_s - other.at_s <= TOGETHER_S:
                death.is_shared = other.is_shared = True
        trial.deaths.append(death)
        trial.is_started = False

    def ended(self, trial_id: str) -> None:
        """A trial has ended."""
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
