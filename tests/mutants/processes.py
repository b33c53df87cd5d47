"""Forked processes that run pytest, a few at a time."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.mutants import ROOT

POLL_S = 0.02
TIMED_OUT = 124
OPTIONS = (
    "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:unraisableexception",
    "-W", "ignore::pytest.PytestAssertRewriteWarning", f"--rootdir={ROOT}",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of pytest with `arguments`, importing tutelage from `package`; it is ended after `timeout_s` seconds."""

    package: Path
    arguments: tuple[str, ...]
    log: Path
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class Done:
    """The exit code of a job (124 if its time was up), the lines that it printed, and its seconds."""

    code: int
    lines: list[str]
    elapsed_s: float


@dataclass
class _Process:
    pid: int
    job: Job
    started_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def done(self) -> Done | None:
        """Return what has become of the process; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
        elif self.elapsed_s < self.job.timeout_s:
            return None
        else:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            code = TIMED_OUT
        return Done(code=code, lines=self.job.log.read_text(errors="replace").splitlines(), elapsed_s=self.elapsed_s)


class Processes:
    """Runs jobs in forked processes, `jobs` at a time. This process must have a single thread."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, count: int, job_of: Callable[[int], Job]) -> Iterator[tuple[int, Done]]:
        """Run `count` jobs; give the number of each and what became of it as it ends."""
        waiting, running = deque(range(count)), dict[int, _Process]()
        while waiting or running:
            while waiting and len(running) < self.jobs:
                number = waiting.popleft()
                running[number] = _started(job_of(number))
            for number, process in list(running.items()):
                if done := process.done():
                    del running[number]
                    yield number, done
            time.sleep(POLL_S)


def _started(job: Job) -> _Process:
    job.log.touch()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _run_pytest(job)
    return _Process(pid, job)


def _run_pytest(job: Job) -> None:
    """In the forked process: run the tests, and end."""
    code = 70
    try:
        os.setsid()
        with job.log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ["PYTHONPATH"] = str(job.package)
        sys.path.insert(0, str(job.package))
        import pytest

        code = int(pytest.main([*OPTIONS, "-o", f"pythonpath={job.package}", *job.arguments]))
        sys.stdout.flush()
    finally:
        os._exit(code)
