"""MLflow and the driver are killed during a sweep; afterwards every row is in MLflow exactly once."""

from __future__ import annotations

import importlib.util
import logging
import random
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import pytest

from tests import tracking_driver
from tests.forked import PROCESSES
from tests.mlflow_server import MlflowServer, Postgres, initdb
from tests.requirements import needs
from tests.tracking_driver import EPOCHS, SEARCHED, log
from tutelage.records import sender
from tutelage.records.tracker import Tracker

pytestmark = pytest.mark.slow
NUM_TRIALS = 12
needs_postgres = needs(
    initdb() and importlib.util.find_spec("psycopg"),
    "PostgreSQL on this machine: apt-get install postgresql, and pip install 'tutelage[postgres]'",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    try:
        yield server
    finally:
        server.kill()


def assert_all_is_there_once(uri: str, num_trials: int) -> None:
    """Count every run, param, tag and row of every metric's history."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("faults")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    assert parent.info.status == "FINISHED"
    front = client.get_metric_history(parent.info.run_id, "front/hypervolume")
    assert [(row.step, row.value) for row in front] == [(n, 0.1 * n) for n in range(1, num_trials + 1)]
    children = sorted((run for run in runs if run.data.tags["stage"] == "trial"), key=lambda run: run.data.tags["trial_id"])
    assert [run.data.tags["trial_id"] for run in children] == [f"t{n:04d}" for n in range(num_trials)]
    for number, run in enumerate(children):
        assert run.info.status == "FINISHED"
        assert run.data.tags["pareto"] == ("front" if number == num_trials - 1 else "dominated")
        assert run.data.params == {
            "student.model": "mlp", "student.model.mlp.hidden": "none", "seed": "0",
            "distillation.temperature": str(1.0 + number),
        }  # fmt: skip
        assert run.data.metrics["quality/accuracy"] == 0.5 + 0.001 * number
        rows = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        for key, history in rows.items():
            expected = list(range(1, EPOCHS + 1)) if key.startswith("train/") else [0]
            assert [row.step for row in history] == expected, (run.data.tags["trial_id"], key)
        assert len(rows) == 10


def test_a_server_that_is_killed_during_a_sweep_has_every_row_once_afterwards(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "LONGEST_WAIT_S", 1.0)
    monkeypatch.setattr(sender, "PATIENCE_S", 120.0)  # a server starts slowly on a machine that has other work
    tracker = Tracker(server.uri, "faults", tmp_path / "tracking.spool")
    tracker.start_sweep("sweep", {"name": "sweep"}, SEARCHED, {"seed": "0"})
    for number in range(NUM_TRIALS // 3):
        log(tracker, number)
    time.sleep(0.5)  # somewhere in the middle of the writing
    server.kill()
    before_s = time.monotonic()
    for number in range(NUM_TRIALS // 3, NUM_TRIALS):
        log(tracker, number)
    assert isinstance(tracker.run_ids, dict)
    assert time.monotonic() - before_s < 5, "logging does not wait for a server that is away"
    server.start()
    tracker.finish("FINISHED")
    with caplog.at_level(logging.WARNING):
        tracker.close()
    assert not (tmp_path / "tracking.spool").exists(), caplog.text
    assert_all_is_there_once(server.uri, NUM_TRIALS)


def test_the_rows_that_an_unreachable_server_missed_are_sent_by_the_next_tracker(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "PATIENCE_S", 2.0)
    tracker = Tracker(server.uri, "faults", tmp_path / "tracking.spool")
    run_id = tracker.start_sweep("sweep", {"name": "sweep"}, SEARCHED, {"seed": "0"})
    server.kill()
    for number in range(3):
        log(tracker, number)
    tracker.finish("FINISHED")
    tracker.close()
    assert "`tutelage track sweep` brings them in" in caplog.text
    assert (tmp_path / "tracking.spool").exists()
    server.start()
    monkeypatch.undo()
    later = Tracker(server.uri, "faults", tmp_path / "tracking.spool")
    later.reopen(run_id)
    later.close()
    assert_all_is_there_once(server.uri, 3)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URI of an MLflow store: a file, and a server over PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mlflow.db'}"
        return
    postgres = Postgres()
    try:
        server = MlflowServer(postgres.uri, tmp_path)
        yield server.uri
        server.kill()
    finally:
        postgres.stop()


def test_a_driver_that_is_killed_at_random_moments_writes_every_row_once(place: str, tmp_path: Path) -> None:
    """The driver is killed at a random moment, three times over; then it comes to its end."""
    draw = random.Random(0)

    def started() -> BaseProcess:
        process = PROCESSES.Process(target=tracking_driver.main, args=(place, tmp_path, NUM_TRIALS))
        process.start()
        return process

    for _ in range(3):
        process, deadline_s = started(), time.monotonic() + 90
        while not (tmp_path / "tracking.spool").exists() and process.is_alive() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 1.5))
        process.kill()
        process.join()
    last = started()
    last.join(timeout=300)
    assert last.exitcode == 0
    assert not (tmp_path / "tracking.spool").exists()
    assert_all_is_there_once(place, NUM_TRIALS)
