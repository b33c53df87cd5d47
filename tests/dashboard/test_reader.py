"""What is read of a candidate, from a client of MLflow that is not there."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from tutelage.dashboard import reader as reading
from tutelage.dashboard.answers import RequestFailed
from tutelage.dashboard.from_runs import _measured, _parsed
from tutelage.dashboard.reader import Reader, _count
from tutelage.dashboard.snapshot import packed


def run(*metrics: str) -> Any:
    data, info = SimpleNamespace(metrics=dict.fromkeys(metrics, 1.0)), SimpleNamespace(run_id="r")
    return SimpleNamespace(data=data, info=info)


def reader(history: Any) -> Reader:
    client: Any = SimpleNamespace(get_metric_history=history)
    return Reader(client, lambda run_id, path: None)


def test_a_curve_has_no_epoch_whose_value_json_lacks() -> None:
    values = (0.5, float("nan"), float("inf"), 0.25)
    rows = [SimpleNamespace(step=step, value=value) for step, value in enumerate(values)]
    assert reader(lambda run_id, key: rows).curves(run("train/loss")) == {"loss": [(0, 0.5), (3, 0.25)]}


@pytest.mark.parametrize("metric", ["train/loss", "loss"])
def test_an_mlflow_that_is_away_is_an_error_for_curves_of_others_too(metric: str) -> None:
    def away(run_id: str, key: str) -> Any:
        raise MlflowException("connection refused")

    with pytest.raises(RequestFailed) as caught:
        reader(away).curves(run(metric))
    assert caught.value.status == 503


def test_a_long_whole_number_of_a_param_keeps_its_digits() -> None:
    assert _parsed("9223372036854775807") == 9223372036854775807


@pytest.mark.parametrize("keys", [("accuracy", "quality/accuracy"), ("quality/accuracy", "accuracy")])
def test_a_metric_of_others_does_not_hide_a_measure_of_the_same_name(keys: tuple[str, str]) -> None:
    ended: Any = [SimpleNamespace(data=SimpleNamespace(metrics={key: float(place) for place, key in enumerate(keys)}))]
    measures, values = _measured(ended)
    assert {measure.mlflow_key: values[name] for name, measure in measures.items()} == {keys[0]: [0.0], keys[1]: [1.0]}
    assert measures["accuracy"].mlflow_key == "quality/accuracy"


def document(size: int = 0) -> bytes:
    parts = {"revision": "", "sweep": {"name": "", "commands": {}}, "id": [], "run_id": [], "is_on_front": []}
    return packed({"format": 1, "n": 0, **parts, "filling": "".join(str(number) for number in range(size))})


class Stored:
    """An MLflow whose every run is a sweep with a snapshot; counts how often each snapshot was read."""

    def __init__(self, data: bytes) -> None:
        self.num_read: dict[str, int] = {}
        self._data = data

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id, lifecycle_stage="active"))

    def artifact(self, run_id: str, path: str) -> bytes:
        self.num_read[run_id] = self.num_read.get(run_id, 0) + 1
        return self._data

    def reader(self) -> Reader:
        client: Any = self
        return Reader(client, self.artifact)


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, what was read need not be read again."""
    monkeypatch.setattr(reading, "FRESH_S", 1e9)


@pytest.mark.usefixtures("always_fresh")
def test_what_several_visitors_ask_at_once_is_read_once() -> None:
    begun, released = threading.Event(), threading.Event()

    class Slow(Stored):
        def artifact(self, run_id: str, path: str) -> bytes:
            if run_id == "slow":
                begun.set()
                assert released.wait(60)
            return super().artifact(run_id, path)

    stored = Slow(document())
    found = stored.reader()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(found.snapshot, "slow") for _ in range(5)]
        assert begun.wait(60)
        assert pool.submit(found.snapshot, "another").result(60), "another sweep waits for nobody"
        released.set()
        assert len({id(one.result(60)) for one in waiting}) == 1
    assert stored.num_read == {"slow": 1, "another": 1}
    assert found._turns == {}, "nothing is left of runs that nobody reads"


def test_a_sweep_that_cannot_be_read_holds_nobody_up() -> None:
    def away(run_id: str) -> Any:
        raise MlflowException("connection refused")

    client: Any = SimpleNamespace(get_run=away)
    found = Reader(client, lambda run_id, path: None)
    for _ in range(2):
        with pytest.raises(RequestFailed, match="out of reach"):
            found.snapshot("r")
    assert found._turns == {}


@pytest.mark.usefixtures("always_fresh")
def test_the_snapshots_used_last_stay_in_memory_up_to_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = document(200)
    monkeypatch.setattr(reading, "KEPT_BYTES", 3 * len(data))
    stored = Stored(data)
    found = stored.reader()
    for run_id in ("a", "b", "c", "a", "d", "a", "c", "d", "b"):
        found.snapshot(run_id)
    assert stored.num_read == {"a": 1, "b": 2, "c": 1, "d": 1}


@pytest.mark.usefixtures("always_fresh")
def test_a_snapshot_above_the_bytes_of_memory_is_kept_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEPT_BYTES", 1)
    stored = Stored(document())
    found = stored.reader()
    for run_id in ("a", "a", "b", "a"):
        found.snapshot(run_id)
    assert stored.num_read == {"a": 2, "b": 1}


def test_a_snapshot_is_read_again_once_it_is_no_longer_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    stored = Stored(document())
    found = stored.reader()
    first = found.snapshot("a")
    assert found.snapshot("a") is first
    now_s += reading.FRESH_S + 0.1
    again = found.snapshot("a")
    assert stored.num_read == {"a": 2}
    assert again.document is first.document, "the same bytes are not parsed again"


def test_a_snapshot_that_is_being_written_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a large sweep from its runs instead would take half a minute, and the page would say that it is damaged."""
    pauses, data = list[float](), document(200)

    class Writing(Stored):
        def artifact(self, run_id: str, path: str) -> bytes:
            return super().artifact(run_id, path)[: None if pauses else len(data) // 2]

    monkeypatch.setattr(time, "sleep", pauses.append)
    stored = Writing(data)
    assert stored.reader().snapshot("a").data == data
    assert (stored.num_read, pauses) == ({"a": 2}, [reading.WRITING_S])


@pytest.mark.parametrize(
    ("text", "expected"), [("12", 12), ("0", 0), ("", None), ("²", None), ("1e9", None), ("-1", None), ("9" * 5000, None)]
)
def test_the_number_of_candidates_is_that_of_a_runs_tag(text: str, expected: int | None) -> None:
    tagged: Any = SimpleNamespace(data=SimpleNamespace(tags={"tutelage.candidates": text}))
    assert _count(tagged) == expected
