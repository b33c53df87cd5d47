"""What a sweep leaves in a real MLflow store."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from tutelage import compare_view
from tutelage.errors import UnreachableError
from tutelage.mlflow_values import redact
from tutelage.record import TrialRecord
from tutelage.tracking import INACTIVE, Tracker

SEARCHED = ("student.model", "student.model.mlp.hidden", "distillation.temperature")
Make = Callable[..., TrialRecord]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def runs(uri: str, filter_string: str = "") -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], filter_string, order_by=["tags.trial_id"]))


def open_sweep(uri: str) -> tuple[Tracker, str]:
    tracker = Tracker(uri, "tests")
    return tracker, tracker.start_sweep("sweep", {"name": "sweep"}, SEARCHED, {"seed": "0"})


def test_a_sweep_is_a_parent_and_a_child_a_trial(uri: str, make_record: Make) -> None:
    tracker, parent = open_sweep(uri)
    curve = ({"epoch": 1.0, "train_loss": 2.0, "accuracy": 0.3}, {"epoch": 2.0, "train_loss": 1.0, "accuracy": 0.5})
    good = replace(make_record(0, accuracy=0.5, params=1000.0, size_bytes=4000.0, macs=9.0), curve=curve, elapsed_s=2.0)
    tracker.log_trial(good, "front", SEARCHED, {"seed": "0"})
    tracker.log_trial(make_record(1, "failed", "Traceback\nValueError: no"), "failed", SEARCHED, {"seed": "0"})
    tracker.log_trial(make_record(2, "infeasible", "too large", params=9e9), "infeasible", SEARCHED, {"seed": "0"})
    tracker.log_front(1, 0.25, 1)
    tracker.log_front(3, 0.5, 2)
    tracker.log_measures("t0000", {"latency_ms": 0.25})
    tracker.set_labels({"t0000": "dominated"})
    tracker.finish("FINISHED")
    tracker.close()
    children = runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert [run.data.tags["pareto"] for run in children] == ["dominated", "failed", "infeasible"]
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "KILLED"]
    first = children[0]
    assert first.data.params == {
        "student.model": "mlp", "student.model.mlp.hidden": INACTIVE, "distillation.temperature": "2.0", "seed": "0",
    }  # fmt: skip
    assert first.data.metrics == {
        "quality/accuracy": 0.5, "size/params": 1000.0, "size/log10_params": 3.0, "size/bytes": 4000.0, "cost/macs": 9.0,
        "cost/log10_macs": math.log10(9.0),
        "cost/latency_ms": 0.25, "cost/elapsed_s": 2.0, "train/train_loss": 1.0, "train/accuracy": 0.5,
    }  # fmt: skip
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert [m.step for m in client.get_metric_history(first.info.run_id, "train/accuracy")] == [1, 2]
    assert [(m.step, m.value) for m in client.get_metric_history(parent, "front/hypervolume")] == [(1, 0.25), (3, 0.5)]
    assert children[1].data.tags["error"] == "ValueError: no"
    assert "error.txt" in {file.path for file in client.list_artifacts(children[1].info.run_id)}
    assert client.get_run(parent).info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(parent)} == {"spec.yaml"}


def test_every_child_has_every_searched_param(uri: str, make_record: Make) -> None:
    """MLflow's parallel coordinates drop a run that lacks one of the chosen params."""
    tracker, parent = open_sweep(uri)
    for number in range(4):
        tracker.log_trial(make_record(number, accuracy=0.5, params=10.0), "dominated", SEARCHED, {})
    tracker.close()
    for run in runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'"):
        assert set(run.data.params) == set(SEARCHED)


def test_infinity_and_nan_never_reach_mlflow(uri: str, make_record: Make) -> None:
    tracker, parent = open_sweep(uri)
    odd = make_record(0, accuracy=float("nan"), params=5.0, macs=float("inf"))
    tracker.log_trial(odd, "dominated", SEARCHED, {})
    tracker.close()
    (child,) = runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert set(child.data.metrics) == {"size/params", "size/log10_params"}


def test_a_teacher_is_one_run_however_many_sweeps_use_it(uri: str) -> None:
    for _ in range(2):
        tracker, parent = open_sweep(uri)
        curve = [{"epoch": 1.0, "train_loss": 1.0, "accuracy": 0.9}]
        tracker.log_teacher("teacher", "abc", {"model": "mlp", "path": None}, {"accuracy": 0.9, "params": 10.0}, curve)
        tracker.log_dataset(parent, "digits", "f" * 64, {"train": 10, "validation": 5})
        tracker.close()
    (teacher,) = runs(uri, "tags.stage = 'teacher'")
    assert teacher.data.params == {"teacher.model": "mlp"}
    assert teacher.data.metrics["quality/accuracy"] == 0.9
    for run in runs(uri, "tags.stage = 'sweep'"):
        assert run.data.tags["teacher_run_id"] == teacher.info.run_id
        assert {i.dataset.digest for i in run.inputs.dataset_inputs} == {"f" * 32}
        assert sorted(i.tags[0].value for i in run.inputs.dataset_inputs) == ["train", "validation"]


def test_a_write_that_fails_is_raised_at_the_end_and_the_others_are_kept(uri: str, make_record: Make) -> None:
    tracker, parent = open_sweep(uri)
    tracker.log_artifacts([Path("/no/such/front.csv")])
    tracker.log_trial(make_record(0, accuracy=0.5, params=5.0), "front", SEARCHED, {})
    with pytest.raises(UnreachableError, match=r"refused 1 entries; the first: files: .*No such file"):
        tracker.close()
    assert len(runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")) == 1


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("./mlruns", "a directory, which MLflow no longer writes"),
        ("file:///tmp/mlruns", "a directory, which MLflow no longer writes"),
        ("http://user:secret@127.0.0.1:9", "out of reach"),
        ("sqlite:////proc/none/mlflow.db", "out of reach"),
    ],
)
def test_a_store_that_does_not_answer_is_told_at_once_and_keeps_its_secret(uri: str, why: str) -> None:
    with pytest.raises(UnreachableError, match=why) as caught:
        Tracker(uri, "tests")
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_secrets_are_redacted() -> None:
    assert redact("postgresql://me:pw@host/db") == "postgresql://***@host/db"
    assert redact("sqlite:///a.db") == "sqlite:///a.db"


def test_the_ready_pages_are_tags_of_the_experiment(uri: str) -> None:
    tracker, _ = open_sweep(uri)
    tracker.save_compare_view(SEARCHED)
    tracker.close()
    experiment = mlflow.MlflowClient(tracking_uri=uri).get_experiment_by_name("tests")
    assert experiment is not None
    views = {tag.rsplit(".", 1)[1]: value for tag, value in experiment.tags.items() if "sharedViewState" in tag}
    assert set(views) == {compare_view.CHARTS_ID, compare_view.TABLE_ID}
    assert all(len(value) < 20_000 for value in views.values())
    assert tracker.view_path.endswith(f"viewStateShareKey={compare_view.CHARTS_ID}")
