"""A killed driver, its resumption, and an extended sweep: each student is trained once, and all records agree."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.command import Command
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.sweeps import sweep_at
from tutelage.report import json_views
from tutelage.spec import loading
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import pipeline, resume
from tutelage.training import watchdog

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

STATES = {"finished": "COMPLETE", "stopped": "PRUNED", "infeasible": "PRUNED", "failed": "FAIL"}


def tree_of(small_spec: dict[str, Any], name: str, **search: Any) -> dict[str, Any]:
    return {**small_spec, "name": name, "search": {"trials": 10, "checkpoint_epochs": 1, **search}}


def ended_lines(home: SweepDir) -> Counter[int]:
    """Count how often each trial was written down as ended; latency is measured afterwards and is a line of its own."""
    lines = [json.loads(line) for line in home.ledger.path.read_text().splitlines()]
    return Counter(line["number"] for line in lines if line["state"] != "running" and "latency_ms" not in line["measures"])


def check_records_agree(home: SweepDir) -> None:
    records, facts = home.records(), home.facts()
    assert home.pending() == []
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri)
    experiment = client.get_run(facts["run_id"]).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{facts['run_id']}'")
    assert Counter(run.data.tags["trial_id"] for run in runs) == Counter(record.trial_id for record in records)
    by_trial = {run.data.tags["trial_id"]: run for run in runs}
    for record in records:
        run = by_trial[record.trial_id]
        assert run.info.status in ("FINISHED", "FAILED", "KILLED")
        assert run.data.params["student.model"] == record.params["student.model"]
        for row in client.get_metric_history(run.info.run_id, "train/accuracy"):
            assert row.value == pytest.approx(record.curve[row.step - 1]["accuracy"])
        assert len(client.get_metric_history(run.info.run_id, "train/accuracy")) == len(record.curve)
        assert len(client.get_metric_history(run.info.run_id, "size/params")) == 1
    front = {student["trial"] for student in json_views.front(home)["students"]}
    assert {trial for trial, run in by_trial.items() if run.data.tags["pareto"] == "front"} == front
    storage = JournalStorage(JournalFileBackend(str(home.files.local_path("study.journal"))))
    study = optuna.load_study(study_name="search", storage=storage)
    told = {trial.number: trial.state.name for trial in study.get_trials() if trial.state.name != "RUNNING"}
    assert told == {place: STATES[record.state] for place, record in enumerate(records)}


AGENTS = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}


def titles_of_cluster(driver: int) -> set[str]:
    """Return the titles of the processes that the watchdog of a driver's cluster would end."""
    programs = [child.cmdline() for child in psutil.Process(driver).children()]
    (mark,) = [program[-2] for program in programs if watchdog.__file__ in program]
    return {process.cmdline()[0].strip() for process in watchdog.marked(mark)}


def killed_driver(home: Path, tree: dict[str, Any], name: str) -> SweepDir:
    """Start a sweep in a process of its own, kill it when three students have ended, and return its directory.

    The processes of its cluster end soon after, also those that a student has just taken or that still import.
    """
    path = home / f"{name}.yaml"
    path.write_text(dump(tree))
    sweep, driver = sweep_at(tree["storage"], name), Command("sweep", str(path))
    deadline_s = time.monotonic() + 240
    while len(sweep.records()) < 3:
        assert driver.is_running() and time.monotonic() < deadline_s, driver.stderr
        time.sleep(0.05)
    with pytest.raises(InputError, match=f"being driven by process {driver.pid}"):
        resume.resume(sweep)
    assert json_views.status(sweep)["state"] == "running"
    assert titles_of_cluster(driver.pid) >= AGENTS, "an agent without the cluster's mark would live on"
    assert driver.left(within_s=0) and driver.killed() == []
    return sweep


def test_after_a_killed_driver_every_student_is_trained_exactly_once(
    small_sweep: SweepDir, small_spec: dict[str, Any], tmp_path: Path
) -> None:
    home = killed_driver(tmp_path, tree_of(small_spec, "killed"), "killed")
    before = home.records()
    assert json_views.status(home)["state"] == "interrupted"
    with home.ledger.path.open("a") as file:
        file.write('{"number": 9')  # as a crash in the middle of a line leaves it
    resume.resume(home, trials="+2")
    after = {record.number: record for record in home.records()}
    for record in before:
        kept = after[record.number]
        assert (kept.config, kept.curve, kept.measures["accuracy"]) == (
            record.config,
            record.curve,
            record.measures["accuracy"],
        )
    assert json_views.status(home)["trials"] == {
        "finished": 12, "stopped": 0, "failed": 0, "infeasible": 0, "running": 0, "paused": 0, "to_come": 0,
    }  # fmt: skip
    assert set(ended_lines(home).values()) == {1}
    assert len({record.identity for record in after.values()}) == 12
    assert loading.load(home.spec_path).search.trials == 12
    check_records_agree(home)


def test_a_finished_sweep_is_extended_and_another_spec_is_an_error(small_sweep: SweepDir, small_spec: dict[str, Any]) -> None:
    tree = tree_of(small_spec, "extended", trials=4, concurrency=1)
    home = pipeline.sweep(loading.from_dict(tree))
    first = home.records()
    with pytest.raises(InputError, match="tutelage resume extended"):
        pipeline.sweep(loading.from_dict(tree))
    other = {**tree, "student": {**tree["student"], "epochs": 5}}
    with pytest.raises(InputError, match=r"student\.epochs: 4 → 5"):
        resume.resume(home, spec=loading.from_dict(other))
    assert home.records() == first and home.facts()["state"] == "finished"
    resume.resume(home, trials=7)
    assert [record.config for record in home.records()[:4]] == [record.config for record in first]
    assert len(home.records()) == 7
    check_records_agree(home)


def test_a_warm_start_trains_nothing_again(small_sweep: SweepDir, small_spec: dict[str, Any]) -> None:
    tree = {**tree_of(small_spec, "warm", trials=3, concurrency=1, warm_start=["small"], initial_design=False)}
    home = pipeline.sweep(loading.from_dict(tree))
    records = home.records()
    assert len(records) == 3
    recalled = [record for record in records if record.origin.startswith("recalled from small/")]
    assert recalled
    there = {record.trial_id: record for record in small_sweep.records()}
    for record in recalled:
        original = there[record.origin.removeprefix("recalled from small/")]
        assert (record.config, record.measures["accuracy"]) == (original.config, original.measures["accuracy"])
        assert (home.student_path(record.trial_id) / checkpoint.WEIGHTS).read_bytes() == (
            small_sweep.student_path(original.trial_id) / checkpoint.WEIGHTS
        ).read_bytes()
    missing = {**tree, "name": "cold", "search": {"trials": 3, "warm_start": ["smal"]}}
    with pytest.raises(InputError, match="Did you mean 'small'"):
        pipeline.sweep(loading.from_dict(missing))
    assert not sweep_at(small_spec["storage"], "cold").files.list()
