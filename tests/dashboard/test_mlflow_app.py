"""MLflow's own server with the explorer, as an operator sets it up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SNAPSHOT_BY_NAME = """
import sys
from pathlib import Path
import mlflow
import uvicorn  # as in MLflow's server: with it MLflow checks the host of each request
from tests.dashboard.asgi import request
from tutelage.dashboard.mlflow_app import create_app
from tutelage.dashboard.snapshot import packed
from tutelage.records.mlflow_writer import SNAPSHOT

place = Path(sys.argv[1])
client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
experiment = client.create_experiment("sweeps", artifact_location=(place / "artifacts").as_uri())
run = client.create_run(experiment, tags={"stage": "sweep"})
file = place / Path(SNAPSHOT).name
parts = {"revision": "", "sweep": {"name": "", "commands": {}}, "id": [], "run_id": [], "is_on_front": []}
file.write_bytes(packed({"format": 1, "n": 0, **parts, "whose": "the artifact's"}))
client.log_artifact(run.info.run_id, str(file), str(Path(SNAPSHOT).parent))
app = create_app()
answer = request(app, f"/tutelage/api/sweeps/{run.info.run_id}/snapshot", host="mlflow.example.org")
print(answer.status, answer.json().get("whose"), request(app, "/tutelage/api/sweeps", host="evil.example.org").status, sep="|")
"""


@pytest.mark.slow
def test_a_snapshot_is_read_whatever_hosts_the_server_allows(tmp_path: Path) -> None:
    """In a process of its own, because MLflow reads its settings once in each."""
    store = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.org",
    }
    environment = {**{name: value for name, value in os.environ.items() if "MLFLOW" not in name}, **store}
    command = [sys.executable, "-c", SNAPSHOT_BY_NAME, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.stdout.strip().splitlines()[-1:] == ["200|the artifact's|403"], done.stderr
