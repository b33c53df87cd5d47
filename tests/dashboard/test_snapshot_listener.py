"""The snapshot of a running sweep: in MLflow, with the ids of the runs, seldom enough, and never in the sweep's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.dashboard.records import Make, events_of, new_sweep, track, trials
from tutelage.dashboard import snapshot_listener
from tutelage.dashboard.snapshot import unpacked
from tutelage.dashboard.snapshot_listener import SnapshotListener
from tutelage.records.mlflow_writer import SNAPSHOT, Snapshot
from tutelage.records.observer import EpochEnded, SweepEnded, TrialPaused, TrialStarted


@pytest.fixture
def uri(mlflow_store: Callable[[Path], str], tmp_path: Path) -> str:
    return mlflow_store(tmp_path)


def stored(uri: str, run_id: str) -> dict[str, Any]:
    path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=SNAPSHOT, tracking_uri=uri)
    return unpacked(Path(path).read_bytes())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event that changes something is followed by a snapshot."""
    monkeypatch.setattr(snapshot_listener, "GAP_S", 0.0)
    monkeypatch.setattr(snapshot_listener, "SHARE", 1e9)


class Spool:
    """A tracker that has what was logged made at once."""

    def __init__(self) -> None:
        self.num_waiting = 0
        self.made: list[dict[str, Any]] = []
        self.run_ids: dict[str, str] = {}

    def log_snapshot(self, make: Callable[[], Snapshot]) -> None:
        self.made.append(unpacked(make().data))


@pytest.mark.slow
def test_it_lies_on_the_sweeps_run_with_the_ids_of_the_trials_runs(
    uri: str, tmp_path: Path, make_record: Make, at_once: None
) -> None:
    home, records = new_sweep(tmp_path / "storage"), trials(make_record)
    tracker = track(home, uri, records)
    listener = SnapshotListener(home, tracker)
    for event in events_of(records, home):
        listener(event)
    tracker.flush()
    found = stored(uri, home.facts()["run_id"])
    assert (found["n"], found["sweep"]["state"]) == (8, "running")
    run = mlflow.MlflowClient(tracking_uri=uri).get_run(home.facts()["run_id"])
    assert run.data.tags["tutelage.candidates"] == "8"
    assert found["run_id"] == [tracker.run_ids[name] for name in found["id"]]
    for record in records:
        home.ledger.append(record)
    home.update(state="finished")
    listener(SweepEnded(sweep="stored", state="finished"))
    tracker.close()
    ended = stored(uri, home.facts()["run_id"])
    assert (ended["n"], ended["sweep"]["state"], ended["run_id"]) == (8, "finished", found["run_id"])


def test_it_is_made_at_intervals_and_less_often_the_longer_it_takes(
    tmp_path: Path, make_record: Make, monkeypatch: Any
) -> None:
    home, spool, now = new_sweep(tmp_path), Spool(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    listener: Any = SnapshotListener(home, spool)  # type: ignore[arg-type]
    events = events_of(trials(make_record), home)
    listener(events[0])
    assert not spool.made
    now += 5.0
    listener(events[1])
    assert len(spool.made) == 1
    listener._took_s = 1.0
    now += 49.0
    listener(events[2])
    assert len(spool.made) == 1
    now += 2.0
    listener(EpochEnded(trial_id="t0009", row={"epoch": 1.0, "accuracy": 0.5}))
    assert len(spool.made) == 2


def test_it_is_not_added_to_a_spool_that_mlflow_does_not_empty(tmp_path: Path, make_record: Make, at_once: None) -> None:
    home, spool = new_sweep(tmp_path), Spool()
    spool.num_waiting = snapshot_listener.MOST_WAITING + 1
    listener = SnapshotListener(home, spool)  # type: ignore[arg-type]
    for event in events_of(trials(make_record), home):
        listener(event)
    assert not spool.made


def test_it_names_the_trials_that_are_training(tmp_path: Path, make_record: Make, at_once: None) -> None:
    home, spool = new_sweep(tmp_path), Spool()
    listener = SnapshotListener(home, spool)  # type: ignore[arg-type]
    listener(TrialStarted(record=make_record(0, "running")))
    listener(TrialStarted(record=make_record(1, "running")))
    listener(EpochEnded(trial_id="t0001", row={"epoch": 2.0, "accuracy": 0.5}))
    assert spool.made[-1]["sweep"]["running"] == [
        {"trial": 0, "id": "t0000", "epoch": None, "value": None}, {"trial": 1, "id": "t0001", "epoch": 2, "value": 0.5},
    ]  # fmt: skip
    listener(TrialPaused(record=make_record(1, "running")))
    assert [one["id"] for one in spool.made[-1]["sweep"]["running"]] == ["t0000"], "a paused trial has no worker"
    for event in events_of(trials(make_record)[:2], home):
        listener(event)
    assert spool.made[-1]["sweep"]["running"] == []


@pytest.mark.slow
def test_a_snapshot_that_cannot_be_made_is_a_warning_and_not_retried(
    uri: str, tmp_path: Path, make_record: Make, caplog: pytest.LogCaptureFixture
) -> None:
    home = new_sweep(tmp_path / "storage")
    tracker = track(home, uri, trials(make_record))
    with caplog.at_level(logging.WARNING):
        tracker.log_snapshot(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        assert tracker.flush()
    assert "snapshot for the explorer could not be made" in caplog.text
    tracker.close()


def test_of_several_that_wait_the_latest_is_made_once(uri: str, tmp_path: Path) -> None:
    home, made = new_sweep(tmp_path / "storage"), list[int]()
    begun, released = threading.Event(), threading.Event()
    tracker = track(home, uri, [])

    def first() -> Snapshot:
        begun.set()
        released.wait(60)
        return Snapshot(b"first", 0)

    tracker.log_snapshot(first)
    assert begun.wait(60)
    for number in range(5):
        tracker.log_snapshot(lambda number=number: (made.append(number), Snapshot(b"later", 0))[1])  # type: ignore[misc]
    released.set()
    tracker.close()
    assert made == [4]
