"""A whole sweep over real digits: its files, its MLflow runs, and the selection from it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

import tutelage
from tests.conftest import SMALL_SPEC
from tests.scraping import Samples, free_port, scraped, shown_metrics
from tests.test_cli import run as run_command
from tutelage import pareto
from tutelage.dashboard.snapshot import unpacked
from tutelage.errors import UnreachableError
from tutelage.export import evaluate
from tutelage.networks import checkpoint
from tutelage.objectives import Limits, losses, reference_losses
from tutelage.records import fronts, mlflow_writer
from tutelage.records.observer import Event, FrontChanged, StageStarted, SweepEnded, SweepStarted, TrialEnded, TrialStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views
from tutelage.selection import retrain, select
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def children(home: SweepDir) -> list[mlflow.entities.Run]:
    facts = home.facts()
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri)
    experiment_id = client.get_run(facts["run_id"]).info.experiment_id
    return list(client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{facts['run_id']}'"))


def test_ledger_front_and_mlflow_agree_to_the_trial(small_sweep: SweepDir) -> None:
    records, objectives = small_sweep.records(), small_sweep.objectives()
    assert [record.state for record in records] == ["finished"] * 8
    matrix = losses([record.measures for record in records], objectives)
    mask = pareto.non_dominated_mask(matrix)
    on_front = {record.trial_id for record, keep in zip(records, mask, strict=True) if keep}
    tagged = {run.data.tags["trial_id"]: run.data.tags["pareto"] for run in children(small_sweep)}
    assert tagged == {r.trial_id: "front" if r.trial_id in on_front else "dominated" for r in records}
    volume = pareto.hypervolume(matrix, reference_losses(objectives))
    assert json_views.front(small_sweep)["hypervolume"] == pytest.approx(volume)
    for run in children(small_sweep):
        record = next(r for r in records if r.trial_id == run.data.tags["trial_id"])
        assert run.data.metrics["quality/accuracy"] == pytest.approx(record.measures["accuracy"])
        assert run.data.metrics["size/params"] == record.measures["params"]
        assert ("cost/latency_ms" in run.data.metrics) == (record.trial_id in on_front)


def test_the_snapshot_equals_mlflow(small_sweep: SweepDir) -> None:
    facts, runs = small_sweep.facts(), {run.info.run_id: run for run in children(small_sweep)}
    uri, run_id = small_sweep.tracking_uri, facts["run_id"]
    path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=mlflow_writer.SNAPSHOT, tracking_uri=uri)
    snapshot = unpacked(Path(path).read_bytes())
    assert snapshot["n"] == len(runs)
    assert set(snapshot["run_id"]) == set(runs)
    assert snapshot["sweep"]["state"] == "finished"
    for row, run in enumerate(runs[run_id] for run_id in snapshot["run_id"]):
        assert (snapshot["id"][row], snapshot["is_on_front"][row]) == (
            run.data.tags["trial_id"], run.data.tags["pareto"] == "front",
        )  # fmt: skip
        logged = {
            snapshot["measures"].get(name, {"mlflow_key": f"quality/{name}"})["mlflow_key"]: column[row]
            for name, column in snapshot["values"].items()
            if column[row] is not None
        }
        assert logged.items() <= run.data.metrics.items()
        assert {f"quality/{name}" for name in small_sweep.records()[row].measures if name in ("accuracy", "agreement")} <= {
            *logged
        }
        for name, setting in snapshot["config"].items():
            value = setting["values"][row]
            shown = "none" if value is None else str(setting["choices"][value] if setting["kind"] == "choice" else value)
            assert run.data.params[name] == shown
    parent = mlflow.MlflowClient(tracking_uri=uri).get_run(run_id)
    assert snapshot["sweep"]["hypervolume"] == pytest.approx(parent.data.metrics["front/hypervolume"])


def test_the_parent_run_has_the_front_and_its_history(small_sweep: SweepDir) -> None:
    facts = small_sweep.facts()
    client = mlflow.MlflowClient(tracking_uri=small_sweep.tracking_uri)
    run = client.get_run(facts["run_id"])
    assert {file.path for file in client.list_artifacts(facts["run_id"])} >= {
        "spec.yaml", "front.csv", "front.png", "front.html",
    }  # fmt: skip
    history = client.get_metric_history(facts["run_id"], "front/hypervolume")
    values = [point.value for point in sorted(history, key=lambda point: point.step)]
    assert values == sorted(values)
    assert "| trial | accuracy | params |" in run.data.tags["mlflow.note.content"]
    teacher = client.get_run(run.data.tags["teacher_run_id"])
    assert teacher.data.metrics["quality/accuracy"] == pytest.approx(facts["teacher"]["accuracy"])
    assert run.info.status == "FINISHED"


def test_students_on_disk_have_the_recorded_measures(small_sweep: SweepDir) -> None:
    from tutelage.networks import cost

    for record in small_sweep.records():
        model, _ = checkpoint.read(small_sweep.student_path(record.trial_id))
        assert cost.size(model)["params"] == record.measures["params"]


def test_tables_are_tidy(small_sweep: SweepDir) -> None:
    front, trials = tutelage.front(small_sweep), tutelage.trials(small_sweep)
    assert isinstance(front, pd.DataFrame)
    assert len(trials) == 8
    assert list(front.columns[:3]) == ["trial", "accuracy", "params"]
    assert set(front["trial"]) <= set(trials["trial"])
    found = tutelage.find_sweep("small", small_sweep.storage.uri)
    assert (found.storage, found.name) == (small_sweep.storage, small_sweep.name)


def test_a_selection_is_confirmed_tested_once_reported_and_registered(small_sweep: SweepDir) -> None:
    choice = select.select(
        small_sweep, policy="best-quality", limits=Limits(max={"params": 5000}), confirm=2, register="digits-tests"
    )
    document = json.loads(small_sweep.files.local_path("selection.json").read_text())
    assert document == json.loads(json.dumps(choice.document))
    rivals = {one["trial"]: one["confirmed"] for one in document["candidates"]}
    taken = document["student"]["trial"]
    assert rivals[taken]["bound"] == max(one["bound"] for one in rivals.values())
    assert taken in document["reason"] and f"{rivals[taken]['bound']:.4f}" in document["reason"]
    records = {record.trial_id: record for record in small_sweep.records()}
    assert all(records[trial].measures["params"] <= 5000 for trial in rivals)
    assert records[taken].measures["confirmed_mean"] == rivals[taken]["mean"]
    assert document["student"]["measures"]["accuracy"] == records[taken].measures["accuracy"]
    confirmed, test = document["confirmed"], document["test"]
    assert confirmed["seeds"] == 2 and confirmed["distilled"] == rivals[taken]
    assert confirmed["gain"]["mean"] == pytest.approx(confirmed["distilled"]["mean"] - confirmed["label_only"]["mean"])
    low, high = test["interval"]
    assert low < test["value"] < high
    difference = test["value"] - test["label_only"]["value"]
    assert test["gain_over_label_only"]["difference"] == pytest.approx(difference)
    assert test["evaluations"] == 1 and document["test_warning"] is None
    assert document["model"]["version"] == "1" and document["model"]["promoted"]
    client = mlflow.MlflowClient(tracking_uri=small_sweep.tracking_uri)
    tags = client.get_run(small_sweep.facts()["run_id"]).data.tags
    assert tags["selected.trial"] == document["student"]["trial"]
    page = choice.report_path.read_text()
    for part in (
        document["reason"].replace("≤", "≤"),
        "Does the teacher help?",
        "label-only baseline",
        "digits-tests version 1",
    ):
        assert part in page
    assert "http://" not in page.split("<h2>What each number means")[1]
    runs = {run.data.tags["trial_id"]: run.data.metrics for run in children(small_sweep)}
    assert runs[taken]["quality/confirmed_mean"] == pytest.approx(rivals[taken]["mean"])


def test_a_recorded_selection_is_not_trained_or_evaluated_again(small_sweep: SweepDir) -> None:
    first = select.select(small_sweep, policy="best-quality", confirm=2)
    runs = small_sweep.reruns.read()
    assert len({(run.trial, run.distilled, run.seed) for run in runs}) == len(runs)
    again = select.select(small_sweep, policy="best-quality", confirm=2)
    assert small_sweep.reruns.read() == runs
    assert again.document["test"] == first.document["test"], "the same look at the same student is no second one"
    other = select.select(small_sweep, policy="min-size", confirm=0)
    assert other.document["student"]["trial"] != first.document["student"]["trial"]
    assert other.document["test"]["evaluations"] == first.document["test"]["evaluations"] + 1
    assert "different students" in other.document["test_warning"], "a second look is visible"
    assert other.document["confirmed"]["gain"] is None


def test_a_champion_is_replaced_only_if_beaten_or_forced_and_can_be_restored(
    small_sweep: SweepDir, capsys: pytest.CaptureFixture[str]
) -> None:
    """The largest student is the champion; the smallest, less accurate, only if forced, and one command undoes it."""
    storage = ["--storage", small_sweep.storage.uri]

    def select(*arguments: str) -> tuple[int, dict[str, Any]]:
        asked = ["select", "small", *storage, "--confirm", "0", "--register", "crowned", "--json", *arguments]
        code, out, _ = run_command(capsys, *asked)
        return code, json.loads(out)["model"]

    code, first = select("--policy", "best-quality")
    assert (code, first["promoted"], first["why"]) == (0, True, "There was no champion.")
    code, second = select("--policy", "min-size", "--alias", "smallest", "--require-promotion")
    assert (code, second["promoted"], second["aliases"]) == (5, False, ["smallest"])
    assert "the champion has" in second["why"] and "version 1" in second["why"]
    code, third = select("--policy", "min-size", "--force")
    assert (code, third["promoted"], third["previous"]) == (0, True, "1")
    code, out, _ = run_command(capsys, "rollback", "crowned", *storage, "--json")
    assert (code, json.loads(out)) == (0, {"version": 1, "name": "crowned", "champion": "1", "previous": "3"})


def test_latency_is_measured_where_a_policy_or_a_bound_needs_it(small_sweep: SweepDir) -> None:
    chosen = select.select(small_sweep, policy="min-latency", confirm=0).document
    known = [record.measures["latency_ms"] for record in small_sweep.records() if record.state == "finished"]
    assert chosen["student"]["measures"]["latency_ms"] == min(known)
    bounded = Limits(max={"latency_ms": sorted(known)[2]})
    within = select.select(small_sweep, policy="best-quality", limits=bounded, confirm=0).document
    assert within["student"]["measures"]["latency_ms"] <= sorted(known)[2]


def test_an_evaluation_of_the_test_split_is_recorded(small_sweep: SweepDir, small_spec: dict[str, Any]) -> None:
    before = len(small_sweep.facts().get("test_evaluations", []))
    trial = small_sweep.records()[0].trial_id
    evaluate.evaluate_model(f"small/{trial}", loading.from_dict(small_spec), "test", small_sweep.storage.uri)
    evaluate.evaluate_model(f"small/{trial}", loading.from_dict(small_spec), "validation", small_sweep.storage.uri)
    openings = small_sweep.facts()["test_evaluations"]
    assert len(openings) == before + 1
    assert (openings[-1]["by"], openings[-1]["subjects"]) == ("evaluate", {"student": trial})


def test_the_label_only_baseline_differs_in_the_teacher_alone(small_sweep: SweepDir) -> None:
    config = small_sweep.records()[0].config
    baseline = retrain.label_only(config)
    assert baseline["distillation"].pop("weight") == 0.0
    assert {**baseline, "distillation": {**baseline["distillation"], "weight": config["distillation"]["weight"]}} == config


SECOND: dict[str, Any] = {
    **SMALL_SPEC,
    "name": "second",
    "student": {
        "epochs": 3,
        "model": {"choice": {"mlp": {"hidden": {"int": [4, 64]}}, "tests.broken_network:Model": {"width": {"int": [1, 99]}}}},
    },
    "sparsity": {},
    "search": {"trials": 8, "concurrency": 1, "constraints": {"max": {"params": "2k"}}, "sampler": "random", "confirm": 2},
}


class Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, StageStarted)]

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def test_failed_and_rejected_trials_are_reported_and_the_sweep_continues(
    small_sweep: SweepDir, small_spec: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A second sweep over the same storage: teacher and knowledge are reused, what cannot be trained is a failed trial.

    Of its observers one is slow and one raises, and neither changes it.
    """
    listener = Listener()

    def slow(event: Event) -> None:
        time.sleep(10)

    def broken(event: Event) -> None:
        raise ValueError("a bug in an observer")

    pages = list[Samples]()

    def scrape(event: Event) -> None:
        if isinstance(event, FrontChanged):
            pages.append(scraped(port))

    port = free_port()
    given = loading.from_dict({**SECOND, "storage": small_spec["storage"], "tracking": {"metrics_port": port}})
    home = pipeline.sweep(given, observers=[slow, listener, broken, scrape])
    assert {name for name, *_ in pages[0]} >= shown_metrics(), "every metric of the Grafana dashboard is exported"
    assert pages[0][("tutelage_phase_seconds_total", "suggest")] > 0
    assert pages[0][("tutelage_knowledge_views", "cached")] > 0 == pages[0][("tutelage_knowledge_views", "computed")]
    assert [listener.count(kind) for kind in (SweepStarted, SweepEnded)] == [1, 1]
    assert listener.count(TrialEnded) == len(home.records()) and 8 <= listener.count(TrialStarted) <= len(home.records())
    assert len([r for r in caplog.records if "slow" in r.getMessage() or "broken" in r.getMessage()]) == 2
    assert any("in the storage already" in line for line in listener.said)
    assert not any("computing" in line for line in listener.said)
    states = [record.state for record in home.records()]
    assert states.count("finished") + states.count("failed") >= 8
    assert {"finished", "failed", "infeasible"} <= set(states)
    for record in home.records():
        if record.state == "failed":
            assert "this network cannot be trained" in record.error
        if record.state == "finished":
            assert record.measures["params"] <= 2000
    runs = {run.data.tags["trial_id"]: run.data for run in children(home)}
    tagged = [data.tags["pareto"] for data in runs.values()]
    assert tagged.count("failed") == states.count("failed")
    assert tagged.count("infeasible") == states.count("infeasible")
    records = {record.trial_id: record for record in home.records()}
    on_front = [trial for trial, data in runs.items() if data.tags["pareto"] == "front"]
    seeds = {run.seed for run in home.reruns.read()}
    assert len(seeds) == 2 and 0 not in seeds, "the front has error bars from seeds that the search has not seen"
    for trial in on_front:
        measures = records[trial].measures
        assert measures["confirmed_seeds"] == 2
        assert measures["confirmed_low"] < measures["confirmed_mean"] < measures["confirmed_high"]
        assert runs[trial].metrics["quality/confirmed_mean"] == pytest.approx(measures["confirmed_mean"])
    assert {"confirmed_mean", "confirmed_low"} <= set(tutelage.front(home).columns)
    assert not any("label-only" in line for line in listener.said)


def test_dominated_students_are_stopped_at_a_rung_and_are_never_on_the_front(
    small_sweep: SweepDir, small_spec: dict[str, Any]
) -> None:
    listener = Listener()
    stopping = {"rule": "mo-asha", "first_epoch": 2, "factor": 3}
    search = {"trials": 12, "concurrency": 1, "sampler": "random", "stopping": stopping}
    tree = {**small_spec, "name": "stopping", "search": search, "sparsity": {}}
    tree["student"] = {**small_spec["student"], "epochs": 8}
    home = pipeline.sweep(loading.from_dict(tree), observers=[listener])
    by_state = {state: [r for r in home.records() if r.state == state] for state in ("finished", "stopped")}
    assert len(by_state["finished"]) + len(by_state["stopped"]) == 12 and all(by_state.values())
    assert {len(record.curve) for record in by_state["stopped"]} <= {2, 6}
    assert {len(record.curve) for record in by_state["finished"]} == {8}
    assert all(record.measures == {} for record in by_state["stopped"])
    tagged = [run.data.tags["pareto"] for run in children(home)]
    assert tagged.count("stopped") == len(by_state["stopped"])


def test_paused_students_continue_or_are_stopped_at_the_end(small_sweep: SweepDir, small_spec: dict[str, Any]) -> None:
    stopping = {"rule": {"promotion": {"share": 0.6}}, "first_epoch": 2, "factor": 2}
    tree = {**small_spec, "name": "promotion", "search": {"trials": 14, "sampler": "size-aware", "stopping": stopping}}
    tree["student"] = {**small_spec["student"], "epochs": 8}
    home = pipeline.sweep(loading.from_dict(tree))
    by_state = {state: [r for r in home.records() if r.state == state] for state in ("finished", "stopped")}
    assert len(by_state["finished"]) + len(by_state["stopped"]) == 14 and all(by_state.values())
    assert home.paused() == [] and home.pending() == []
    assert {len(record.curve) for record in by_state["stopped"]} <= {2, 4}
    for record in by_state["finished"]:
        assert [row["epoch"] for row in record.curve] == list(range(1, 9))
    spent = sum(len(record.curve) for record in home.records())
    assert spent <= 0.6 * 14 * 8 + 2 * 8, "what runs when the share is spent still comes to its rung"
    states = [json.loads(line)["state"] for line in home.ledger.path.read_text().splitlines()]
    assert "paused" in states and states.count("stopped") == len(by_state["stopped"])
    tagged = [run.data.tags["pareto"] for run in children(home)]
    assert len(tagged) == 14 and tagged.count("stopped") == len(by_state["stopped"])


def test_an_unreachable_tracking_store_ends_the_sweep_before_it_starts(tmp_path: Path) -> None:
    given = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path), "tracking": {"uri": "http://127.0.0.1:9"}})
    with pytest.raises(UnreachableError):
        pipeline.sweep(given)
    assert not (tmp_path / "sweeps").exists()


def test_the_same_spec_and_seed_give_the_same_students(small_sweep: SweepDir, small_spec: dict[str, Any]) -> None:
    from tutelage.training import ray_train, student_jobs

    record = small_sweep.records()[0]
    context = select.context_with_teacher(small_sweep, loading.load(small_sweep.spec_path))
    workers = ray_train.Workers(workers=0, cpus=1, gpus=0)
    trained = dict(
        student_jobs.train_students({"again": (record.config, 0)}, context, small_sweep.files.within("again"), workers)
    )
    for name in ("accuracy", "params", "agreement"):
        assert trained["again"][0][name] == record.measures[name]
    first, _ = checkpoint.read(small_sweep.student_path(record.trial_id))
    again, _ = checkpoint.read(small_sweep.files.local_path("again/again"))
    for left, right in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert (left == right).all()


def test_references_that_are_not_set_are_the_teachers_measures(small_sweep: SweepDir) -> None:
    objectives = {o.name: o for o in small_sweep.objectives()}
    assert objectives["accuracy"].reference == 0.0
    assert objectives["params"].reference == small_sweep.facts()["teacher"]["params"]
    assert replace(objectives["params"], reference=None).reference is None


def test_a_request_for_more_than_the_cluster_has_is_an_error_at_once(tmp_path: Path) -> None:
    given = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path), "resources": {"trial": {"gpus": 1}}})
    with pytest.raises(
        UnreachableError, match=r"resources\.trial asks for 1 CPU and 1 GPU, and no node has that much: there is one node"
    ):
        pipeline.sweep(given)


def test_the_name_of_a_sweep_that_failed_before_its_first_trial_can_be_used_again(
    tmp_path: Path, small_spec: dict[str, Any]
) -> None:
    from tutelage.errors import InputError
    from tutelage.records import sweeps

    home = sweeps.create(tmp_path, "again", "")
    with pytest.raises(InputError, match="a sweep named 'again' exists"):
        sweeps.check_free(tmp_path, "again")
    home.update(state="failed")
    sweeps.check_free(tmp_path, "again")
    assert sweeps.create(tmp_path, "again", "").facts()["state"] == "started"


def test_a_constraint_that_no_student_can_meet_is_an_error_before_training(tmp_path: Path) -> None:
    from tutelage.errors import NoStudentFits

    search = {"trials": 4, "constraints": {"max": {"params": 10}}}
    given = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path), "search": search})
    with pytest.raises(NoStudentFits, match=r"no student of the search space meets params ≤ 10\. .* the nearest has params 63"):
        pipeline.sweep(given)
    assert not (tmp_path / "sweeps").exists() and not (tmp_path / "teachers").exists()


def test_students_beyond_the_reference_are_reported(small_sweep: SweepDir) -> None:
    params, accuracy = (next(o for o in small_sweep.objectives() if o.name == name) for name in ("params", "accuracy"))
    front = tutelage.front(small_sweep)
    smallest, largest = front["params"].min(), front["params"].max()
    assert fronts.outside_reference(small_sweep, [accuracy, replace(params, reference=largest + 1)]) == []
    assert len(fronts.outside_reference(small_sweep, [accuracy, replace(params, reference=smallest)])) == len(front)
    outside = fronts.outside_reference(small_sweep, [accuracy, replace(params, reference=largest)])
    assert outside == front.loc[front["params"] == largest, "trial"].tolist()


def test_the_error_for_a_sweep_whose_students_all_fail_has_the_first_reason(make_record: Any) -> None:
    from tutelage.errors import WorkFailed

    failed = [make_record(i, "failed", f"Traceback\nValueError: no {i}") for i in range(2)]
    with pytest.raises(WorkFailed, match="none of 2 students could be trained: ValueError: no 0"):
        pipeline.require_students(failed, Limits(), 0)
