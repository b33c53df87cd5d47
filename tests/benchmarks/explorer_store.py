"""A real MLflow store with snapshots of synthetic sweeps, for the benchmark of the explorer."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from tests.benchmarks.synthetic_snapshot import record_of, snapshot
from tutelage import plugins
from tutelage.dashboard.snapshot import packed
from tutelage.records.mlflow_store import open_client, ready_experiment
from tutelage.records.mlflow_writer import SNAPSHOT

GROWTH = 10  # candidates that a live refresh brings
TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")  # of MLflow's database, those with rows of a run


class Store:
    """An SQLite store with artifacts beside it, in a directory; `uri` is MLflow's."""

    def __init__(self, directory: Path) -> None:
        self._database = directory / "mlflow.db"
        self.uri = f"sqlite:///{self._database}"
        self._client = open_client(self.uri)
        self.experiment_id = ready_experiment(self._client, self.uri, "explorer", plugins.measure("accuracy"))

    def add_sweep(self, document: Mapping[str, Any], name: str) -> str:
        """Write a sweep's run with its snapshot; return the run's id."""
        tags = {"stage": "sweep", "sweep": name, "pareto": "sweep"}
        run_id = str(self._client.create_run(self.experiment_id, tags=tags, run_name=name).info.run_id)
        self.write_snapshot(document, run_id)
        return run_id

    def write_snapshot(self, document: Mapping[str, Any], run_id: str) -> int:
        """Replace the snapshot of a sweep's run; return its bytes."""
        about = {"run_id": run_id, "experiment_id": self.experiment_id}
        data = packed({**document, "sweep": {**document["sweep"], **about}})
        folder, _, name = SNAPSHOT.partition("/")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_bytes(data)
            self._client.log_artifact(run_id, str(path), folder)
        return len(data)

    def add_runs(self, parent: str, count: int) -> None:
        """Write that many finished runs of trials: one through MLflow's client, and copies of its rows in the database."""
        template = _one_run(self._client, self.experiment_id, parent)
        with sqlite3.connect(self._database) as database:
            for table in TABLES:
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                values = ["printf('%032x', n)" if name == "run_uuid" else name for name in columns]
                database.execute(
                    f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count - 1}) "
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table}, numbers "
                    "WHERE run_uuid = ?",
                    (template,),
                )
        database.close()


def _one_run(client: MlflowClient, experiment_id: str, parent: str) -> str:
    """Write the run of a trial as a sweep does, with final measures and a curve of 10 epochs; return its id."""
    record = record_of(0, np.random.default_rng(0))
    tags = {"mlflow.parentRunId": parent, "trial_id": "t0000", "pareto": "dominated", "sweep": "synthetic", "stage": "trial"}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name="t0000").info.run_id)
    final = [Metric(f"quality/{name}", 0.5, 1, 0) for name in plugins.names("measures")]
    curve = [Metric(f"train/{name}", 0.5, epoch, epoch) for name in ("loss", "accuracy") for epoch in range(10)]
    client.log_batch(run_id, final + curve, [Param(name, str(value)) for name, value in record.params.items()])
    client.set_terminated(run_id)
    return run_id


def growing(count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two snapshots of one running sweep: with `count` candidates, and with `GROWTH` more."""
    after = snapshot(count + GROWTH)
    after["revision"], after["sweep"]["state"] = "synthetic", "running"
    return {**_first(after, after["n"], count), "n": count}, after


def _first(value: Any, of: int, count: int) -> Any:
    """Return a document whose columns, lists of `of` entries, have the first `count` only."""
    if isinstance(value, Mapping):
        return {key: _first(one, of, count) for key, one in value.items()}
    return value[:count] if isinstance(value, list) and len(value) == of else value
