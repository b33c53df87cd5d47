"""What a running sweep has spent, put on record while it runs: a driver that is killed leaves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tutelage.errors import TutelageError
from tutelage.records.sweep_dir import SweepDir

FIRST_S, SHARE = 5.0, 0.01  # so much, or this share of the time so far, is lost at most; and the file grows by the logarithm


@contextmanager
def beating(home: SweepDir, facts: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Put facts on record at growing intervals within a block, from a thread; what cannot be written is left out."""
    ended, begun_s = threading.Event(), time.monotonic()

    def beat() -> None:
        while not ended.wait(interval_s(time.monotonic() - begun_s)):
            with suppress(OSError, TutelageError):  # a full disk ends the sweep elsewhere, if at all
                home.update(**facts())

    thread = threading.Thread(target=beat, name="tutelage-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def interval_s(elapsed_s: float) -> float:
    """Return the seconds until the next time that facts are put on record."""
    return max(FIRST_S, SHARE * elapsed_s)
