"""The end of a cluster: no worker outlives it, and workers of clusters that others started are left alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
import ray

from tutelage.training import cluster


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """A process that has started another, which would live on for a minute, as if Ray had started the first here."""
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as started:
        while not psutil.Process(started.pid).children():
            pass
        node = SimpleNamespace(all_processes={"raylet": [SimpleNamespace(process=started)]})
        monkeypatch.setattr(ray._private.worker, "_global_node", node)
        monkeypatch.setattr(ray, "shutdown", lambda: None)
        monkeypatch.setattr(cluster, "WORKERS_END_S", 0.05)
        yield psutil.Process(started.pid)
        for process in psutil.Process(started.pid).children():
            process.kill()
        started.kill()


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; one that was killed stays a zombie while its parent does not wait for it."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_worker_that_does_not_end_with_its_cluster_is_killed(raylet: psutil.Process) -> None:
    (worker,) = raylet.children()
    cluster._disconnect()
    deadline_s = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not is_alive(worker)


def test_workers_of_a_cluster_that_others_started_are_left_alone(
    raylet: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    (worker,) = raylet.children()
    monkeypatch.setattr(ray._private.worker, "_global_node", None)
    cluster._disconnect()
    time.sleep(0.2)
    assert is_alive(worker)
