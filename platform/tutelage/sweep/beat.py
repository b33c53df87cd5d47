"""Records the seconds that a running sweep has used while it runs, so that they survive a killed driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tutelage.errors import TutelageError
from tutelage.records.sweep_dir import SweepDir

# At most this time, or this share of the time so far, is lost. The file grows with the logarithm of the time.
FIRST_S, SHARE = 5.0, 0.01


@contextmanager
def beating(home: SweepDir, facts: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Record facts at growing intervals within a block, from a thread; a write that fails is left out."""
    ended, started_s = threading.Event(), time.monotonic()

    def beat() -> None:
        while not ended.wait(interval_s(time.monotonic() - started_s)):
            with suppress(OSError, TutelageError):  # a full disk is handled where results are written
                home.update(**facts())

    thread = threading.Thread(target=beat, name="tutelage-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def interval_s(elapsed_s: float) -> float:
    """Return the seconds until facts are recorded the next time."""
    return max(FIRST_S, SHARE * elapsed_s)
