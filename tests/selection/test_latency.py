"""Latencies of a sweep's students and of their teacher, put on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.stored_sweep import write_sweep
from tutelage.errors import WorkFailed
from tutelage.networks import timing
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, StageStarted
from tutelage.selection.latency import measure_latencies
from tutelage.training import latency
from tutelage.training.context import TrainingContext


@pytest.mark.slow
def test_latencies_are_recorded_in_the_ledger_and_in_mlflow(
    tmp_path: Path, taught: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def latencies_ms(models: dict[str, Any], arguments: tuple[Any, ...], threads: int) -> dict[str, dict[str, float]]:
        assert [len(one) for one in arguments] == [1], "one example"
        return {name: {"latency_ms": 1.0 + number} for number, name in enumerate(models)}

    monkeypatch.setattr(timing, "latencies_ms", latencies_ms)
    home = write_sweep(tmp_path, taught, [{"mlp": {"hidden": 3}}, {"mlp": {"hidden": 4}}])
    logged: dict[str, Any] = {}
    tracker: Any = SimpleNamespace(log_measures=logged.__setitem__)
    assert measure_latencies(home, taught, ["t0000", "t0001"], tracker, Dispatcher()) == {"latency_ms": 3.0}
    assert [record.measures["latency_ms"] for record in home.records()] == [1.0, 2.0]
    assert logged == {"t0000": {"latency_ms": 1.0}, "t0001": {"latency_ms": 2.0}}
    assert measure_latencies(home, taught, [], tracker, Dispatcher()) == {}


@pytest.mark.slow
@pytest.mark.parametrize("command", [None, ("measure",)])
def test_a_latency_that_cannot_be_measured_ends_no_sweep(
    command: tuple[str, ...] | None, tmp_path: Path, taught: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then all students were trained. A command measures them one by one, and those that it measured are kept."""

    def latencies_ms(networks: Mapping[str, Any], _: TrainingContext) -> dict[str, dict[str, float]]:
        if "t0001" in networks:
            raise WorkFailed("the telephone was unplugged.")
        return {name: {"latency_ms": 1.0, "latency_p90_ms": 2.0} for name in networks}

    monkeypatch.setattr(latency, "latencies_ms", latencies_ms)
    room = replace(taught, latency=taught.latency.model_copy(update={"command": command}))
    home = write_sweep(tmp_path, taught, [{"mlp": {"hidden": 3}}, {"mlp": {"hidden": 4}}])
    said = list[str]()

    def observer(event: Event) -> None:
        said.append(event.text if isinstance(event, StageStarted) else "")

    tracker: Any = SimpleNamespace(log_measures=lambda *_: None)
    with Dispatcher([observer]) as events:
        of_teacher = measure_latencies(home, room, ["t0000", "t0001"], tracker, events)
    assert "the telephone was unplugged" in said[-1] and "t0001" in said[-1]
    assert [record.measures.get("latency_ms") for record in home.records()] == [1.0 if command else None, None]
    assert bool(of_teacher) == bool(command)
