"""What a sweep leaves in a real MLflow store."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from tests.conftest import SMALL_SPEC
from tutelage import cli, plugins
from tutelage.errors import UnreachableError
from tutelage.records import lineage, mlflow_runs, mlflow_views, mlflow_writer, sweeps
from tutelage.records.spool import Spool
from tutelage.records.tracker import INACTIVE, Tracker
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redact
from tutelage.spec import loading
from tutelage.spec.yaml_lines import dump

pytestmark = pytest.mark.slow

SEARCHED = ("student.model", "student.model.mlp.hidden", "distillation.temperature")
Make = Callable[..., TrialRecord]


@pytest.fixture
def uri(mlflow_store: Callable[[Path], str], tmp_path: Path) -> str:
    return mlflow_store(tmp_path)


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
        "size/log10_bytes": pytest.approx(math.log10(4000.0)),
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
def test_an_unreachable_store_is_an_error_at_once_without_its_password(uri: str, why: str) -> None:
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
    assert set(views) == {mlflow_views.CHARTS_ID, mlflow_views.TABLE_ID}
    assert all(len(value) < 20_000 for value in views.values())
    assert mlflow_views.path(tracker.experiment_id).endswith(f"viewStateShareKey={mlflow_views.CHARTS_ID}")


def metric_rows(uri: str) -> dict[tuple[str, str, int], int]:
    """Count the rows of every metric's history, by (run, key, step)."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = [(run.info.run_id, key) for run in runs(uri) for key in run.data.metrics]
    return Counter((run_id, key, row.step) for run_id, key in found for row in client.get_metric_history(run_id, key))


def test_a_process_killed_before_its_runs_id_is_noted_finds_its_run_again(uri: str, tmp_path: Path) -> None:
    spool = tmp_path / "tracking.spool"
    first = Tracker(uri, "tests", spool)
    opened = Spool(spool)  # what start_sweep does until it is killed: the spool, then the run, and no more
    run_id = first._writer.parent_of(opened.key, "sweep", 0)
    opened.append({"do": "run", "run": run_id, "tags": {"left": "over"}})
    opened.close()
    second = Tracker(uri, "tests", spool)
    assert second.start_sweep("sweep", {"name": "sweep"}, SEARCHED, {"seed": "0"}) == run_id
    second.close()
    (run,) = runs(uri)
    assert run.data.tags["left"] == "over", "what the killed process left is written first"
    assert run.data.params == {"seed": "0"}


def test_a_trial_logged_again_is_left_and_a_half_written_one_is_completed_in_place(uri: str, make_record: Make) -> None:
    tracker, parent = open_sweep(uri)
    curve = ({"epoch": 1.0, "train_loss": 2.0, "accuracy": 0.3}, {"epoch": 2.0, "train_loss": 1.0, "accuracy": 0.5})
    made = [replace(make_record(n, accuracy=0.5, params=9.0), curve=curve, started_s=1.7e9, elapsed_s=2.0) for n in range(2)]
    tracker.log_trial(made[0], "front", SEARCHED, {})
    tracker.log_front(1, 0.25, 1)
    tracker.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    tags = {"mlflow.parentRunId": parent, "trial_id": "t0001", "stage": "trial", "pareto": "front"}
    experiment_id = client.get_run(parent).info.experiment_id
    half = client.create_run(experiment_id, start_time=1_700_000_000_000, tags=tags).info.run_id
    client.log_param(half, "student.model", "mlp")
    client.log_metric(half, "quality/accuracy", 0.5, timestamp=1_700_000_002_000, step=0)
    before = client.get_run(runs(uri, "tags.trial_id = 't0000'")[0].info.run_id).to_dictionary()
    resumed = Tracker(uri, "tests")
    resumed.reopen(parent, resumed=True)
    for record in made:
        resumed.log_trial(record, "dominated", SEARCHED, {})
    resumed.log_front(1, 0.25, 1)
    resumed.flush()
    assert resumed.run_ids["t0001"] == half
    resumed.close()
    first, second = runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert first.data.tags["pareto"] == second.data.tags["pareto"] == "dominated"
    assert {**first.to_dictionary()["info"]} == {**before["info"]}
    assert first.data.metrics == second.data.metrics
    assert second.info.status == "FINISHED"
    assert set(metric_rows(uri).values()) == {1}
    assert client.get_run(parent).info.status == "RUNNING"


def test_a_measure_taken_again_counts_however_small_it_is(uri: str, make_record: Make) -> None:
    """MLflow shows the largest of the values that share a step and a time."""
    tracker, _ = open_sweep(uri)
    tracker.log_trial(make_record(0, accuracy=0.5), "front", SEARCHED, {})
    tracker.log_measures("t0000", {"latency_ms": 2.0})
    tracker.flush()
    time.sleep(0.002)
    tracker.log_measures("t0000", {"latency_ms": 1.0})
    tracker.close()
    assert runs(uri, "tags.stage = 'trial'")[0].data.metrics["cost/latency_ms"] == 1.0


def test_no_secret_reaches_mlflow(uri: str, make_record: Make) -> None:
    address = "postgresql://me:hunter2@db/x?password=hunter2"
    tracker = Tracker(uri, "tests")
    parent = tracker.start_sweep("sweep", {"tracking": {"uri": address}}, SEARCHED, {"data": address})
    tracker.log_trial(make_record(0, "failed", f"Traceback\nOSError: {address}"), "failed", SEARCHED, {"data": address})
    tracker.set_note(address)
    tracker.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    found, (child,) = runs(uri), runs(uri, "tags.stage = 'trial'")
    texts = [client.download_artifacts(child.info.run_id, "error.txt"), client.download_artifacts(parent, "spec.yaml")]
    everything = [str(run.to_dictionary()) for run in found] + [Path(text).read_text() for text in texts]
    assert not any("hunter2" in text for text in everything)


def test_keys_and_values_are_made_fit(uri: str, make_record: Make) -> None:
    long, odd = "a" * 300, "student.model.my net@home.width"
    searched = [long, long + "b", odd]
    record = replace(make_record(0, "failed", "x" * 9000), params=dict.fromkeys(searched, "v" * 7000))
    tracker, _ = open_sweep(uri)
    tracker.log_trial(record, "failed", searched, {})
    tracker.close()
    (child,) = runs(uri, "tags.stage = 'trial'")
    assert len(child.data.params) == 3
    assert all(len(key) <= 250 and len(value) == 6000 for key, value in child.data.params.items())
    assert len(child.data.tags["error"]) == 8000


def test_more_metrics_than_a_request_takes_all_arrive(uri: str, make_record: Make) -> None:
    curve = tuple({"epoch": float(n), "train_loss": 1.0 / n, "accuracy": 0.5} for n in range(1, 701))
    tracker, _ = open_sweep(uri)
    tracker.log_trial(replace(make_record(0, accuracy=0.5), curve=curve), "front", SEARCHED, {f"p{n}": n for n in range(150)})
    tracker.close()
    (child,) = runs(uri, "tags.stage = 'trial'")
    assert len(child.data.params) == 153
    assert len(metric_rows(uri)) >= 1400


def test_a_sweeps_run_has_the_versions_and_the_hardware(uri: str) -> None:
    open_sweep(uri)[0].close()
    (run,) = runs(uri)
    assert {"packages.torch", "packages.python", "hardware.cpu", "hardware.cores", "hardware.gpu"} <= set(run.data.tags)


def test_a_commit_is_named_only_where_git_tracks(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    assert lineage.commit_of(tmp_path) is None
    git("init")
    assert lineage.commit_of(tmp_path) is None, "no commit yet"
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("-c", "user.name=n", "-c", "user.email=e@x", "commit", "-m", "m")
    (tmp_path / "b.py").write_text("2")
    found = lineage.commit_of(tmp_path)
    assert found is not None and not found[1], "files that git does not track change nothing"
    (tmp_path / "a.py").write_text("3")
    changed = lineage.commit_of(tmp_path, file="a.py")
    assert changed == (found[0], True)
    assert lineage.commit_of(tmp_path, file="b.py") is None


def test_what_waits_after_a_sweep_is_brought_in_by_track(uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path)})
    home = sweeps.create(tmp_path, "small", dump(given.resolved()))
    tracker = Tracker(uri, "image_classification", home.spool_path)
    home.update(run_id=tracker.start_sweep("small", {}, SEARCHED, {}), state="finished")
    tracker.close()
    left = Spool(home.spool_path)
    left.append({"do": "run", "run": home.facts()["run_id"], "tags": {"late": "yes"}})
    left.close()
    for brought in (1, 0):
        cli.app(["track", "small", "--storage", str(tmp_path), "--json"], standalone_mode=False)
        assert json.loads(capsys.readouterr().out) == {"version": 1, "sweep": "small", "written": brought}
    assert mlflow.MlflowClient(tracking_uri=uri).get_run(home.facts()["run_id"]).data.tags["late"] == "yes"
    assert not home.spool_path.exists()


def test_a_run_that_a_user_deleted_stays_as_it_is(uri: str, make_record: Make) -> None:
    tracker, parent = open_sweep(uri)
    tracker.log_trial(make_record(0, accuracy=0.5, params=5.0), "front", SEARCHED, {})
    tracker.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    (child,) = runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")
    client.delete_run(child.info.run_id)
    before = client.get_run(child.info.run_id).to_dictionary()
    again = Tracker(uri, "tests")
    again.reopen(parent)
    again.log_trial(make_record(0, accuracy=0.75, params=5.0), "dominated", SEARCHED, {"more": "x"})
    again.log_measures("t0000", {"latency_ms": 1.0})
    again.set_labels({"t0000": "dominated"})
    again.close()
    assert not runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'"), "no second run takes its place"
    assert client.get_run(child.info.run_id).to_dictionary() == before


@pytest.mark.slow
def test_all_trials_are_found_however_many_pages_they_take(
    uri: str, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_runs, "PAGE", 2)
    tracker, parent = open_sweep(uri)
    for number in range(5):
        tracker.log_trial(make_record(number, accuracy=0.5), "front", SEARCHED, {})
    tracker.close()
    again = Tracker(uri, "tests")
    again.reopen(parent)
    assert sorted(again.run_ids) == [f"t{number:04d}" for number in range(5)]
    again.log_trial(make_record(4, accuracy=0.5), "front", SEARCHED, {})
    again.close()
    assert len(runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")) == 5


def test_an_experiment_has_the_direction_of_its_primary_measure(tmp_path: Path, mlflow_store: Callable[[Path], str]) -> None:
    uri = mlflow_store(tmp_path)
    error = replace(plugins.measure("accuracy"), name="error_rate", direction="minimise", mlflow_key="")
    Tracker(uri, "errors", measures={"error_rate": error}).close()
    Tracker(uri, "tests").close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    tags = [client.get_experiment_by_name(name).tags for name in ("errors", "tests")]
    assert [one["mlflow.experiment.primaryMetric.greaterIsBetter"] for one in tags] == ["false", "true"]
    assert [one["mlflow.experiment.primaryMetric.name"] for one in tags] == ["quality/error_rate", "quality/accuracy"]


def test_epochs_are_spread_over_the_time_of_their_training() -> None:
    curve = [("train/accuracy", 0.1 * epoch, epoch) for epoch in (1, 2, 4)]
    found = mlflow_writer._metrics({"size/params": 9.0}, curve, 1000, 400)
    assert [(metric.key, metric.step, metric.timestamp) for metric in found] == [
        ("size/params", 0, 1400), ("train/accuracy", 1, 1100), ("train/accuracy", 2, 1200), ("train/accuracy", 4, 1400),
    ]  # fmt: skip


def test_the_sweeps_run_has_the_best_quality_so_far_in_the_measures_direction(uri: str, make_record: Make) -> None:
    error = replace(plugins.measure("accuracy"), name="error_rate", direction="minimise", mlflow_key="")
    tracker = Tracker(uri, "errors", measures={"error_rate": error})
    parent = tracker.start_sweep("sweep", {}, [], {})
    for number, (value, label) in enumerate([(0.3, "front"), (0.2, "front"), (0.25, "dominated"), (0.1, "infeasible")]):
        tracker.log_trial(make_record(number, error_rate=value), label, [], {})
        tracker.log_front(number, 0.5, 1)
    tracker.close()
    history = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(parent, "quality/error_rate")
    assert [row.value for row in sorted(history, key=lambda row: row.timestamp)] in ([0.3, 0.2], [0.2, 0.3]), "at one time"
    assert {row.step for row in history} == {0}, "MLflow sorts the sweep above its trials by it"


def test_a_trials_run_has_the_time_of_its_training(uri: str, make_record: Make) -> None:
    tracker, parent = open_sweep(uri)
    tracker.log_trial(replace(make_record(0, accuracy=0.5), started_s=1.7e9, elapsed_s=2.5), "front", SEARCHED, {})
    tracker.close()
    (child,) = runs(uri, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert (child.info.start_time, child.info.end_time) == (1_700_000_000_000, 1_700_000_002_500)


@pytest.mark.slow
def test_a_sweep_whose_events_were_lost_goes_on_with_its_run_wherever_that_is(uri: str, make_record: Make) -> None:
    """Two sweeps of one name, as of two storages, differ by the time of their trials; the experiment may have been renamed."""
    records = [replace(make_record(0, accuracy=0.5, params=10.0), started_s=started_s) for started_s in (1e9, 2e9)]
    parents = []
    for record in records:
        tracker, parent = open_sweep(uri)
        tracker.log_trial(record, "front", SEARCHED, {})
        tracker.close()
        parents.append(parent)
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.rename_experiment(client.get_experiment_by_name("tests").experiment_id, "renamed")
    tracker = Tracker(uri, "tests")
    assert [tracker.find_run("sweep", [record]) for record in records] == parents
    assert tracker.find_run("sweep", [replace(records[0], started_s=3e9)]) is None
    assert tracker.find_run("other", records) is None and tracker.find_run("sweep", []) is None
    tracker.reopen(parents[1])
    tracker.log_trial(records[1], "front", SEARCHED, {})
    tracker.close()
    assert len(client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parents[1]}'")) == 1
