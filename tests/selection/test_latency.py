"""Latencies of a sweep's students and of their teacher, put on record."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.stored_sweep import write_sweep
from tutelage.networks import timing
from tutelage.records.dispatcher import Dispatcher
from tutelage.selection.latency import measure_latencies
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
