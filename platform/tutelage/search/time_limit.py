"""The end of a search after a given time, by a clock that nobody sets."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Stopper


class TimeLimit(Stopper):
    """Ends a search when `limit_s` seconds have passed since this object was made.

    Ray's own stopper measures by the time of day, which jumps when the machine's clock is corrected.
    """

    def __init__(self, limit_s: float) -> None:
        self._ends_s = time.monotonic() + limit_s

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial ends by time."""
        return False

    def stop_all(self) -> bool:
        """Return whether the time has passed."""
        return time.monotonic() >= self._ends_s
