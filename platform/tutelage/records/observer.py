"""What a sweep tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tutelage.records.trial import TrialRecord


class Observer(Protocol):
    """Who is told how a sweep goes on; the command line prints it."""

    def stage(self, text: str) -> None:
        """A step of the sweep begins, or there is news of it."""
        ...

    def epoch(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """A trial reported an epoch."""
        ...

    def trial(self, record: TrialRecord, front_size: int, hypervolume: float) -> None:
        """A trial ended; the front as it stands now."""
        ...


class Silent:
    """An observer that tells nobody."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def epoch(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """Say nothing."""

    def trial(self, record: TrialRecord, front_size: int, hypervolume: float) -> None:
        """Say nothing."""
