"""A user's own task, data, network and measures, outside the package, from a sweep to an export.

Examples are sequences of unequal length, the task has two label sequences, its primary measure is lower-better, may exceed 1
and is, like the secondary one, of all examples together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

import tutelage
from tests.own_task import LOOP_F1, ROW_ERROR_RATE
from tests.test_cli import run as run_command
from tutelage.export.evaluate import evaluate_model
from tutelage.export.export import Options, export_model
from tutelage.networks import checkpoint
from tutelage.objectives import Limits
from tutelage.records.sweep_dir import SweepDir
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

READER = "tests.own_task:Reader"
SPEC: dict[str, Any] = {
    "name": "rows",
    "data": "tests.own_task:Scans",
    "task": {"tests.own_task:ReadRows": {"rows_weight": 0.6}},
    "teacher": {"model": {READER: {"width": 24}}, "epochs": 12, "batch_size": 32},
    "student": {
        "model": {READER: {"width": {"int": [3, 12]}, "depth": {"int": [1, 2]}}},
        "epochs": 5,
        "batch_size": 32,
        "learning_rate": {"float": [1e-4, 0.03], "log": True},
    },
    "distillation": {"temperature": {"float": [1, 8]}, "weight": 0.7, "method": {"choice": ["kd", "fitnet"]}},
    "search": {"trials": 12, "initial_design": False},
}
MEASURES = {ROW_ERROR_RATE.name, LOOP_F1.name, "agreement", "teacher_kl_nats", "params", "size_bytes", "macs"}


def swept(storage: Path, name: str, **changes: Any) -> SweepDir:
    search = {**SPEC["search"], **changes.pop("search", {})}
    return pipeline.sweep(loading.from_dict({**SPEC, "name": name, "storage": str(storage), "search": search, **changes}))


@pytest.fixture(scope="module")
def rows(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    """A finished sweep that pauses students and lets the most promising go on."""
    storage = tmp_path_factory.mktemp("rows")
    return swept(storage, "rows", search={"stopping": {"rule": {"promotion": {"share": 0.5}}}})


@pytest.fixture(scope="module")
def dominated(rows: SweepDir) -> SweepDir:
    """A second sweep of the same storage, and so the same teacher, that stops students that are far behind."""
    return swept(
        rows.storage.uri, "dominated", search={"concurrency": 1, "stopping": {"rule": {"dominance": {"confidence": 0.5}}}}
    )


def test_the_own_tasks_sweep_stops_early_and_its_front_has_the_own_measures(rows: SweepDir) -> None:
    records = rows.records()
    assert {record.state for record in records} == {"finished", "stopped"}
    for record in records:
        assert all(ROW_ERROR_RATE.name in row and LOOP_F1.name in row for row in record.curve)
        assert record.state == "stopped" or set(record.measures) >= MEASURES
    front = tutelage.front(rows)
    assert list(front.columns[:3]) == ["trial", "row_error_rate", "params"]
    assert front["params"].is_monotonic_increasing and front["row_error_rate"].is_monotonic_decreasing
    teacher = rows.facts()["teacher"]
    assert 0 < teacher["row_error_rate"] < 0.6 and teacher["loop_f1"] > 0.7
    assert len(records[0].curve) <= 5 and rows.storage.list("knowledge"), "the teacher's outputs were cached"


def test_a_student_that_is_far_behind_is_stopped(dominated: SweepDir) -> None:
    records = dominated.records()
    stopped = [record for record in records if record.state == "stopped"]
    finished = [record for record in records if record.state == "finished"]
    assert stopped and finished and all(len(record.curve) < 5 for record in stopped)
    assert min(one.curve[-1]["row_error_rate"] for one in stopped) > min(one.measures["row_error_rate"] for one in finished)


def test_live_and_cached_knowledge_give_the_same_students(dominated: SweepDir) -> None:
    """The cache keeps half precision."""
    live = swept(dominated.storage.uri, "live", knowledge={"mode": "live"}, search={"trials": 2, "concurrency": 1})
    for own, other in zip(dominated.records(), live.records(), strict=False):
        assert (own.params, own.state) == (other.params, "finished")
        assert other.measures["row_error_rate"] == pytest.approx(own.measures["row_error_rate"], abs=0.02)
        weights = [checkpoint.read_weights(home.student_path(own.trial_id)) for home in (dominated, live)]
        assert all(np.allclose(weights[0][name], weights[1][name], atol=2e-2) for name in weights[0])


def test_mlflow_draws_the_front_and_has_every_measure(rows: SweepDir) -> None:
    facts = rows.facts()
    client = mlflow.MlflowClient(tracking_uri=rows.tracking_uri)
    parent = client.get_run(facts["run_id"])
    runs = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{facts['run_id']}'")
    records = {record.trial_id: record for record in rows.records()}
    on_front = set(tutelage.front(rows)["trial"])
    found = {run.data.tags["trial_id"]: run.data for run in runs}
    assert set(found) == set(records)
    for trial, record in records.items():
        assert (found[trial].tags["pareto"] == "front") == (trial in on_front)
        for name in (ROW_ERROR_RATE.name, LOOP_F1.name, "agreement", "teacher_kl_nats"):
            if record.state == "finished":
                assert found[trial].metrics[f"quality/{name}"] == pytest.approx(record.measures[name])
    curve = client.get_metric_history(runs[0].info.run_id, f"train/{LOOP_F1.name}")
    assert len(curve) == len(records[runs[0].data.tags["trial_id"]].curve)
    experiment = client.get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "quality/row_error_rate"
    assert experiment.tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "false"
    assert {file.path for file in client.list_artifacts(facts["run_id"])} >= {"front.csv", "front.png", "front.html"}
    assert "| trial | row_error_rate | params |" in parent.data.tags["mlflow.note.content"].replace("\\", "")


def test_a_selection_has_intervals_by_bootstrap_over_examples(rows: SweepDir) -> None:
    choice = select.select(rows, policy="best-quality", limits=Limits(max={"row_error_rate": 1.5}), confirm=2)
    document = choice.document
    test, confirmed = document["test"], document["confirmed"]
    low, high = test["interval"]
    assert test["n"] == 497, "examples, not rows"
    assert low < test["value"] < high and high - low > 0.02
    assert confirmed["seeds"] == 2
    assert confirmed["distilled"]["interval"][0] < confirmed["distilled"]["mean"] < confirmed["distilled"]["interval"][1]
    assert test["label_only"] and document["regression"] is not False
    assert "row error rate" in document["reason"] + document["distillation"]
    page = choice.report_path.read_text()
    shown = page.split("</script>")[-1]
    assert "row error rate" in shown and "F1 of loops" in page and "accuracy" not in shown


@pytest.mark.parametrize("command", ["status", "front", "compare"])
def test_the_command_line_shows_the_own_tasks_sweep(
    rows: SweepDir, dominated: SweepDir, command: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    names = ["rows", "dominated"] if command == "compare" else ["rows"]
    code, out, err = run_command(capsys, command, *names, "--storage", rows.storage.uri)
    assert code == 0, err
    assert "accuracy" not in out
    code, out, err = run_command(capsys, command, *names, "--storage", rows.storage.uri, "--json")
    assert code == 0 and (command == "status" or ROW_ERROR_RATE.name in json.dumps(json.loads(out)))


def test_the_outputs_of_every_exported_form_equal_the_students(rows: SweepDir, tmp_path: Path) -> None:
    trial = tutelage.front(rows)["trial"].iloc[-1]
    document = export_model(f"rows/{trial}", tmp_path / "out", rows.storage.uri, Options(check=True))
    assert set(document["largest_difference"]) == {"weights", "program", "onnx"}
    assert max(document["largest_difference"].values()) < 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    assert "row error rate" in card and "accuracy" not in card
    record = next(record for record in rows.records() if record.trial_id == trial)
    for form in ("", "model.pt2", "model.onnx"):
        found = evaluate_model(str(tmp_path / "out" / form), loading.load(rows.spec_path), "validation", rows.storage.uri)
        assert found[ROW_ERROR_RATE.name] == pytest.approx(record.measures[ROW_ERROR_RATE.name], abs=1e-3)
        assert found["interval"][0] < found[ROW_ERROR_RATE.name] < found["interval"][1]
