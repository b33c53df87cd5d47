"""A program that ends the processes of a driver's Ray cluster when the driver has ended, however it ended; for `cluster`.

    python watchdog.py MARK DRIVER

A process of the cluster has `MARK` in its environment; `DRIVER` is the id of the driver's process, which starts this program
and holds the other end of its stdin. A worker notices by itself that its cluster has ended, but not before it has imported
everything, which takes seconds, and half a minute on a busy machine. A driver that was killed can end nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

import psutil

VARIABLE = "TUTELAGE_CLUSTER"  # of the environment, with the mark
POLL_S = 0.1
GRACE_S = 1.0  # for processes to end by themselves, until they are killed
GIVE_UP_S = 10.0  # a process that is still there then cannot be killed


def main(mark: str, driver: int) -> None:
    """Wait until the driver has closed stdin or has ended, then end the processes of its cluster."""
    closed = threading.Event()
    threading.Thread(target=_wait_for_end, args=[closed], daemon=True).start()
    while not closed.wait(1.0) and os.getppid() == driver:  # a copy of the driver that was forked has stdin's other end too
        pass
    end(mark)


def _wait_for_end(closed: threading.Event) -> None:
    sys.stdin.buffer.read()
    closed.set()


def end(mark: str) -> None:
    """Return when no process has the mark; those that are there after `GRACE_S` are killed."""
    started_s = time.monotonic()
    while (found := marked(mark)) and (elapsed_s := time.monotonic() - started_s) < GIVE_UP_S:
        if elapsed_s > GRACE_S:
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
        time.sleep(POLL_S)


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that have the mark; those of other users cannot be seen."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(VARIABLE) == mark:
                found.append(process)
    return found


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
