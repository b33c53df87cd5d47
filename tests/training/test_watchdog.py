"""The program that ends the processes of a cluster: which they are, and when it ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable

import psutil
import pytest

from tests.processes import is_alive
from tutelage.training import watchdog

MARK = uuid.uuid4().hex  # other tests may run at the same time, and would end processes of the same mark
DRIVER = """
import os, subprocess, sys, time
program = [sys.executable, "-P", *sys.argv[1:], str(os.getpid())]
watchdog = subprocess.Popen(program, stdin=subprocess.PIPE)
copy = os.fork() if {forks} else -1
if copy:
    print(watchdog.pid, copy, flush=True)
time.sleep(60)
"""


def test_only_processes_with_the_mark_are_killed_and_those_that_start_meanwhile_too(
    sleeping: Callable[[str], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "GRACE_S", 0.01)
    monkeypatch.setattr(watchdog, "POLL_S", 0.01)
    found, late = watchdog.marked, []

    def marked(mark: str) -> list[psutil.Process]:
        seen = found(mark)
        if not late:
            late.append(sleeping(MARK))
        return seen

    monkeypatch.setattr(watchdog, "marked", marked)
    first, other = sleeping(MARK), sleeping(f"not {MARK}")
    watchdog.end(MARK)
    assert not is_alive(first) and not is_alive(late[0]) and is_alive(other)


def test_a_process_has_time_to_end_by_itself(
    sleeping: Callable[[str], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    process = sleeping(MARK)
    killed: list[int] = []
    monkeypatch.setattr(watchdog, "GRACE_S", 60.0)
    monkeypatch.setattr(watchdog, "POLL_S", 0.01)
    monkeypatch.setattr(psutil.Process, "kill", lambda self: killed.append(self.pid))
    ending = threading.Timer(0.1, process.terminate)
    ending.start()
    watchdog.end(MARK)
    assert not is_alive(process) and not killed


def test_a_process_that_cannot_be_killed_is_left(
    sleeping: Callable[[str], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    process = sleeping(MARK)
    monkeypatch.setattr(watchdog, "GRACE_S", 0.01)
    monkeypatch.setattr(watchdog, "POLL_S", 0.01)
    monkeypatch.setattr(watchdog, "GIVE_UP_S", 0.1)
    with monkeypatch.context() as held:
        held.setattr(psutil.Process, "kill", lambda self: None)
        watchdog.end(MARK)
    assert is_alive(process)


@pytest.mark.slow
@pytest.mark.parametrize("forks", [False, True])
def test_the_processes_of_a_driver_that_was_killed_end(sleeping: Callable[[str], psutil.Process], forks: bool) -> None:
    """Also if a copy of the driver that it has forked lives on, and holds its pipes."""
    worker = sleeping(MARK)
    program = [sys.executable, "-c", DRIVER.format(forks=forks), watchdog.__file__, MARK]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        own, copy = map(int, driver.stdout.readline().split())
        program_of_driver = psutil.Process(own)
        time.sleep(0.3)
        assert is_alive(worker)
        driver.kill()
    deadline_s = time.monotonic() + 20
    while is_alive(worker) or is_alive(program_of_driver):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    if forks:
        os.kill(copy, signal.SIGKILL)
