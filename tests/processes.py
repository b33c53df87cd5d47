"""Processes that tests start and look at."""

from __future__ import annotations

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; one that was killed stays a zombie while its parent does not wait for it."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
