"""A sweep whose run MLflow has lost is written again from its ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from tests.stored_sweep import TEACHER, selection_of, spec_tree
from tutelage.files import write_json
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.tracker import tracker_of
from tutelage.records.trial import TrialRecord
from tutelage.report import restore
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump

Make = Callable[..., TrialRecord]


@pytest.mark.slow
def test_a_sweep_is_written_again_with_all_that_the_ledger_has(
    mlflow_store: Callable[[Path], str], tmp_path: Path, make_record: Make
) -> None:
    uri = mlflow_store(tmp_path)
    home = sweeps.create(tmp_path, "stored", dump(from_dict(spec_tree(tmp_path)).kept()))
    objectives = (objective("accuracy"), replace(objective("params"), reference=TEACHER["params"]))
    home.update(
        state="finished", run_id="lost", objectives=[one.document() for one in objectives], teacher=TEACHER,
        fingerprint="f" * 64, num_examples={"train": 10}, run_ids={"t0000": "lost0"},
    )  # fmt: skip
    for number, (accuracy, params) in enumerate([(0.5, 9.0), (0.9, 20.0), (0.4, 30.0)]):
        home.ledger.append(make_record(number, accuracy=accuracy, params=params))
    home.ledger.append(make_record(3, "failed", "Traceback\nValueError: no"))
    write_json(home.files.local_path("selection.json"), selection_of("stored", home.records()[1]))
    home.files.put("front.csv", "trial")
    said: list[str] = []
    tracker = tracker_of(home.spec(), "lost")
    restore.reopen(home, tracker, said.append)
    tracker.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    run_id = home.facts()["run_id"]
    parent = client.get_run(run_id)
    assert len(said) == 1 and "no longer has the run of this sweep: it is written again from the ledger" in said[0]
    assert (parent.info.status, parent.data.tags["selected.trial"]) == ("FINISHED", "t0001")
    assert "## Front of stored" in parent.data.tags["mlflow.note.content"]
    assert {file.path for file in client.list_artifacts(run_id)} == {"spec.yaml", "front.csv", "selection.json"}
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    labels = {run.data.tags["trial_id"]: run.data.tags["pareto"] for run in children}
    assert labels == {"t0000": "front", "t0001": "front", "t0002": "dominated", "t0003": "failed"}
    assert [row.step for row in client.get_metric_history(run_id, "front/hypervolume")] == [1, 2]
    again = tracker_of(home.spec(), run_id)
    restore.reopen(home, again, said.append)
    again.close()
    assert len(said) == 1 and len(client.search_runs([parent.info.experiment_id])) == 6
