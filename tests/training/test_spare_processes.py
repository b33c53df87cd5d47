"""Spare processes: what they import in advance, and when one is started."""

from __future__ import annotations

import os
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from tutelage.data import digits
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec import loading
from tutelage.training import cluster, spare_processes


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The actors that were requested of a cluster, each with its state and whether it was ended; timers run at once."""
    actors: list[Any] = []

    def remote() -> Any:
        actors.append(SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: len(actors) - 1), state="PENDING", is_ended=False))
        return actors[-1]

    options = SimpleNamespace(options=lambda num_cpus: SimpleNamespace(remote=remote))
    monkeypatch.setattr(spare_processes, "_ActorClassCache", lambda: SimpleNamespace(get=lambda cls: options))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "kill", lambda actor: setattr(actor, "is_ended", True))
    monkeypatch.setattr(ray._private.state, "actors", lambda place: {"State": actors[place].state})
    timer = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(threading, "Timer", lambda after_s, end, arguments: timer)
    return actors


def test_a_cluster_of_ones_own_imports_in_advance_what_a_trial_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    found = spare_processes.settings(3, digits)
    modules = found[spare_processes.PRELOADED].split(",")
    assert modules[-1] == "tutelage.data.digits" and {"ray.tune", "torch._dynamo"} < set(modules)
    assert found["RAY_num_workers_soft_limit"] == "4", "three trials and one that is ready"
    assert spare_processes.settings(3, object())[spare_processes.PRELOADED] == ",".join(spare_processes.MODULES)
    assert all(module.split(".")[0] in sys.modules for module in modules)


def test_a_process_is_started_where_processes_import_in_advance_only(
    requested: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.delenv(spare_processes.PRELOADED, raising=False)
    spare_processes.start(2)
    assert not requested
    monkeypatch.setenv(spare_processes.PRELOADED, "torch")
    spare_processes.start(2)
    assert len(requested) == 2


def test_a_spare_process_that_a_request_took_is_replaced(requested: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(spare_processes.PRELOADED, "torch")
    spare_processes.start(2)
    first, second = requested
    for place, actor in enumerate((first, second)):
        actor._actor_id = SimpleNamespace(hex=lambda place=place: place)
    second.state = "ALIVE"
    spare_processes._end([first, second])
    assert first.is_ended and second.is_ended and len(requested) == 3


def test_a_sweep_has_the_environment_while_its_cluster_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(cluster, "_connect", lambda address, mark: None)
    monkeypatch.setattr(cluster, "get_num_cpus", lambda: 4)
    monkeypatch.setattr(
        spare_processes, "start", lambda number=1: seen.append((number, spare_processes.PRELOADED in os.environ))
    )
    tree = {"name": "a", "data": "digits", "teacher": {"model": "mlp"}, "student": {"model": "mlp"}, "search": {"trials": 3}}
    for more in ({}, {"resources": {"trial": {"workers": 2, "cpus": 1}}}):
        with Dispatcher(()) as events, cluster.cluster(None, events, loading.from_dict({**tree, **more})):
            pass
    assert seen == [(3, True), (2, False)]
    assert spare_processes.PRELOADED not in os.environ
