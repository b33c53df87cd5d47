"""The opening of MLflow's store: one process at a time, after a move, and after somebody renamed, deleted or lost something."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from tests.forked import PROCESSES
from tests.mlflow_server import MariaDb, Postgres, initdb, mariadbd
from tests.requirements import needs
from tests.tracking_driver import open_together
from tutelage.errors import InputError, UnreachableError
from tutelage.export import registry
from tutelage.records import mlflow_store
from tutelage.records.spool import Spool
from tutelage.records.tracker import Tracker
from tutelage.records.trial import TrialRecord

pytestmark = pytest.mark.slow

Make = Callable[..., TrialRecord]
Store = Callable[[Path], str]
HOLDER = """
import sys
from tutelage.storage import open_storage
with open_storage(sys.argv[1]).lease("mlflow.db"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_database_that_another_process_opens_is_waited_for(
    mlflow_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow makes the tables of a new database when it is opened, and two processes that do so collide."""
    uri, said = mlflow_store(tmp_path), list[str]()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"

        def end(words: str) -> None:
            said.append(words)
            other.kill()

        monkeypatch.setattr(logging.getLogger("tutelage.records.mlflow_store"), "warning", end)
        Tracker(uri, "tests").close()
    assert len(said) == 1 and f"process {other.pid} on" in said[0] and "database of MLflow; waiting" in said[0]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    server = MariaDb()
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "sqlite",
        pytest.param("postgres", marks=needs(initdb(), "PostgreSQL")),
        pytest.param("mariadb", marks=pytest.mark.skipif(not mariadbd(), reason="there is no MariaDB, or no pymysql")),
    ],
)
def test_processes_open_a_new_database_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Nobody has made its tables: one of three does, and each has a run of its own in the one experiment."""
    uri = f"sqlite:///{tmp_path}/new/mlflow.db" if kind == "sqlite" else request.getfixturevalue(kind).uri
    together, found = PROCESSES.Barrier(3), PROCESSES.Queue()
    given = [(uri, tmp_path, f"sweep{number}", together, found) for number in range(3)]
    each = [PROCESSES.Process(target=open_together, args=one) for one in given]
    for one in each:
        one.start()
    ends = [found.get(timeout=240) for _ in each]
    for one in each:
        one.join()
    assert len({experiment for experiment, _, _ in ends}) == 1 and len({run for _, run, _ in ends}) == 3
    assert any("waiting" in words for _, _, said in ends for words in said)


def test_a_renamed_experiment_is_that_of_the_sweeps_run(mlflow_store: Store, tmp_path: Path, make_record: Make) -> None:
    uri = mlflow_store(tmp_path)
    tracker = Tracker(uri, "tests")
    run_id = tracker.start_sweep("one", {}, [], {})
    tracker.log_trial(make_record(0, accuracy=0.5), "front", [], {})
    tracker.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.rename_experiment(tracker.experiment_id, "renamed")
    again = Tracker(uri, "tests", run_id=run_id)
    assert again.experiment_id == tracker.experiment_id and not again.has_lost_run
    again.reopen(run_id)
    for number in range(2):
        again.log_trial(make_record(number, accuracy=0.5), "front", [], {})
    again.close()
    assert len(client.search_runs([tracker.experiment_id], "tags.stage = 'trial'")) == 2
    assert client.get_experiment_by_name("tests") is None


def test_what_was_deleted_in_mlflow_is_reported_at_the_opening_with_the_way_back(mlflow_store: Store, tmp_path: Path) -> None:
    uri = mlflow_store(tmp_path)
    tracker = Tracker(uri, "tests")
    run_id = tracker.start_sweep("one", {}, [], {})
    tracker.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.delete_run(run_id)
    with pytest.raises(InputError, match=f"was deleted in MLflow. Restore it: .* mlflow runs restore --run-id {run_id}"):
        Tracker(uri, "tests", run_id=run_id)
    client.delete_experiment(tracker.experiment_id)
    for known in (run_id, ""):
        with pytest.raises(InputError, match=f"mlflow experiments restore --experiment-id {tracker.experiment_id}"):
            Tracker(uri, "tests", run_id=known)


def test_work_for_a_run_that_mlflow_has_lost_is_dropped(mlflow_store: Store, tmp_path: Path) -> None:
    uri, path = mlflow_store(tmp_path), tmp_path / "tracking.spool"
    left = Spool(path)
    left.append({"do": "run", "run": "lost", "tags": {"late": "yes"}})
    left.close()
    tracker = Tracker(uri, "tests", path, run_id="lost")
    assert tracker.has_lost_run
    tracker.start_sweep("one", {}, [], {})
    assert tracker.num_found == 0
    tracker.close()
    assert not path.exists() and not path.with_suffix(".refused").exists()


def test_artifacts_lie_beside_a_database_that_was_moved(mlflow_store: Store, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new 100%"
    old.mkdir()
    tracker = Tracker(mlflow_store(old), "tests")
    run_id = tracker.start_sweep("one", {"name": "one"}, [], {})
    tracker.close()
    old.rename(new)
    uri = f"sqlite:///{tmp_path}/new 100%25/mlflow.db"
    moved = Tracker(uri, "tests", run_id=run_id)
    other_id = moved.start_sweep("two", {"name": "two"}, [], {})
    moved.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert client.get_experiment(moved.experiment_id).artifact_location == location_in(new)
    for one in (run_id, other_id):
        assert client.get_run(one).info.artifact_uri == f"{location_in(new)}/{one}/artifacts"
        assert (new / "artifacts" / one / "artifacts" / "spec.yaml").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["new 100%"]


def location_in(directory: Path) -> str:
    return (directory / "artifacts").resolve().as_uri()


def test_files_that_wait_in_a_spool_are_found_after_a_move(mlflow_store: Store, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    uri, old, new = mlflow_store(tmp_path / "db"), tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "front.csv").write_text("a")
    tracker = Tracker(uri, "tests", old / "tracking.spool")
    run_id = tracker.start_sweep("one", {}, [], {})
    assert tracker.flush()
    tracker._sender.close()  # type: ignore[union-attr]
    waiting = Spool(old / "tracking.spool")
    tracker._sender = waiting  # type: ignore[assignment]
    tracker.log_artifacts([old / "front.csv"])
    waiting.close()
    old.rename(new)
    later = Tracker(uri, "tests", new / "tracking.spool", run_id=run_id)
    later.reopen(run_id)
    later.close()
    assert "front.csv" in {file.path for file in mlflow.MlflowClient(tracking_uri=uri).list_artifacts(run_id)}


@pytest.mark.parametrize("content", [b"no database, but a text of some length", b"SQLite format 3\x00" + b"\xff" * 100])
def test_a_file_that_is_no_database_is_reported_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(UnreachableError, match=r"mlflow\.db is damaged, move it away: .* written again from its ledger"):
        mlflow_store.open_client(f"sqlite:///{tmp_path}/mlflow.db")


def test_reading_a_model_creates_no_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/nowhere/mlflow.db"
    for ask in (lambda: registry.roll_back(uri, "digits"), lambda: registry.download(uri, "models:/digits@champion")):
        with pytest.raises(InputError, match="there is no database of MLflow"):
            ask()
    assert list(tmp_path.iterdir()) == []
