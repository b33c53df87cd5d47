"""The explorer in real servers: in MLflow's own, in `tutelage dashboard` over a store, and before an MLflow elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import requests

from tests.dashboard.records import Make, new_sweep, track, trials
from tests.mlflow_server import MlflowServer
from tutelage.dashboard.settings import TOKEN
from tutelage.dashboard.snapshot_listener import log_from_ledger
from tutelage.records.sweep_dir import SweepDir

pytestmark = pytest.mark.slow
START_S = 240.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], SweepDir]:
    """Write a sweep with runs and snapshot to the MLflow of a URI, "" for that of its own storage."""

    def make(uri: str, make_record: Make) -> SweepDir:
        home = new_sweep(tmp_path_factory.mktemp("store") / "storage")
        records = trials(make_record)
        for record in records:
            home.ledger.append(record)
        tracker = track(home, uri or home.tracking_uri, records)
        log_from_ledger(home, tracker)
        tracker.close()
        return home

    return make


@contextmanager
def dashboard(*arguments: str, **environment: str) -> Iterator[tuple[str, str]]:
    """Run `tutelage dashboard` at a free port; give the addresses of the explorer and of MLflow that it prints."""
    command = [sys.executable, "-m", "tutelage", "dashboard", *arguments, "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        assert lines[0].startswith("explorer: "), lines
        yield lines[0].split()[-1], lines[1].split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 128 + signal.SIGINT
        if process.stdout:
            process.stdout.close()


def run_of(home: SweepDir) -> str:
    return str(home.facts()["run_id"])


def test_mlflows_own_server_has_the_explorer_on_its_address(made: Callable[..., SweepDir], make_record: Make) -> None:
    assert entry_points(group="mlflow.app", name="tutelage"), "the package is installed without it: make setup"
    home = made("", make_record)
    server = MlflowServer(home.tracking_uri, Path(home.storage.local_path("")), "--app-name", "tutelage")
    try:
        assert requests.get(f"{server.uri}/tutelage", timeout=60).url == f"{server.uri}/tutelage/"
        found = requests.get(f"{server.uri}/tutelage/api/sweeps/{run_of(home)}/snapshot", timeout=60).json()
        assert (found["n"], found["sweep"]["notes"]) == (8, [])
        assert "<title>MLflow</title>" in requests.get(server.uri, timeout=60).text
        answer = requests.get(f"{server.uri}/api/2.0/mlflow/runs/get", {"run_id": run_of(home)}, timeout=60).json()
        assert f"tutelage/#sweep={run_of(home)}" in str(answer["run"]["data"]["tags"])
        assert (
            requests.get(f"{server.uri}/tutelage/api/sweeps", timeout=60, headers={"Host": "evil.example"}).status_code == 403
        )
    finally:
        server.kill()


def test_the_command_serves_a_storage_and_guards_other_addresses(made: Callable[..., SweepDir], make_record: Make) -> None:
    home = made("", make_record)
    arguments = ("stored", "--storage", home.storage.uri, "--host", "0.0.0.0")
    with dashboard(*arguments, **{TOKEN: "abc"}) as (explorer, _):
        assert explorer.endswith(f"/tutelage/?token=abc#sweep={run_of(home)}")
        local = f"http://127.0.0.1:{explorer.split(':')[2].partition('/')[0]}"
        for page in ("/", "/tutelage/", "/tutelage/api/sweeps", f"/api/2.0/mlflow/runs/get?run_id={run_of(home)}"):
            assert requests.get(f"{local}{page}", timeout=60).status_code == 401
        session = requests.Session()
        assert session.get(f"{local}/tutelage/?token=abc", timeout=60).status_code == 200
        assert session.get(f"{local}/tutelage/api/sweeps", timeout=60).json()[0]["name"] == "stored"
        assert "<title>MLflow</title>" in session.get(f"{local}/", timeout=60).text


def test_before_an_mlflow_that_goes_and_comes_back(
    made: Callable[..., SweepDir], make_record: Make, mlflow_store: Callable[[Path], str], tmp_path: Path
) -> None:
    server = MlflowServer(mlflow_store(tmp_path), tmp_path)
    try:
        home = made(server.uri, make_record)
        with dashboard("--tracking-uri", server.uri, "--storage", home.storage.uri) as (explorer, of_mlflow):
            url = f"{explorer}api/sweeps/{run_of(home)}/snapshot"
            assert requests.get(url, timeout=60).json()["n"] == 8
            assert "<title>MLflow</title>" in requests.get(of_mlflow, timeout=60).text
            runs = requests.get(f"{of_mlflow}api/2.0/mlflow/runs/get", {"run_id": run_of(home)}, timeout=60)
            assert runs.json()["run"]["info"]["run_id"] == run_of(home)
            assert requests.get(of_mlflow, timeout=60, headers={"Host": "evil.example"}).status_code == 400
            server.kill()
            time.sleep(1.1)
            assert requests.get(url, timeout=60).status_code == requests.get(of_mlflow, timeout=60).status_code == 503
            server.start()
            assert requests.get(url, timeout=60).json()["n"] == 8
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no sweep was run in"),
        (("nosuch",), "no sweep 'nosuch'"),
        (("--tracking-uri", "http://127.0.0.1:9"), "out of reach"),
        (("--port", "70000"), "65535"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tutelage", "dashboard", *arguments, "--storage", str(tmp_path), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
    assert done.returncode in (2, 3)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
