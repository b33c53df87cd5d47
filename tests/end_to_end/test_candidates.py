"""A sweep whose every training gives two candidates, by a user's own sparsity method, from its search to an export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import pytest
from optuna.trial import TrialState

import tutelage
from tests.conftest import SMALL_SPEC
from tutelage.errors import InputError
from tutelage.export.export import Options, export_model
from tutelage.export.find import find_model
from tutelage.networks import checkpoint, cost
from tutelage.networks.trust import EVERYTHING
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views
from tutelage.selection import select
from tutelage.spec import loading, spec
from tutelage.sweep import pipeline, resume

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def spec_of(storage: Path, **changes: Any) -> spec.Spec:
    return loading.from_dict({
        **SMALL_SPEC,
        "name": "ladder",
        "storage": str(storage),
        "student": {"epochs": 3, "model": {"mlp": {"hidden": {"int": [12, 64]}}}},
        "sparsity": {"amount": 0.5, "method": "tests.ladder:LowRank"},
        "search": {"trials": 3, "concurrency": 1, "objectives": ["accuracy", "params"], **changes.pop("search", {})},
        **changes,
    })  # fmt: skip


@pytest.fixture(scope="module")
def ladder(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    return pipeline.sweep(spec_of(tmp_path_factory.mktemp("ladder")))


def test_every_candidate_is_recorded_and_the_sampler_gets_a_trial_once(ladder: SweepDir) -> None:
    assert [trial.trial_id for trial in ladder.trials()] == ["t0000", "t0001", "t0002"]
    names = [record.trial_id for record in ladder.records()]
    assert names == [f"t000{number}.{index}" for number in range(3) for index in (0, 1)]
    told = [json.loads(line).get("state") for line in ladder.files.local_path("study.journal").read_text().splitlines()]
    assert told.count(TrialState.COMPLETE) == 3, "one end a trial"
    for record in ladder.records():
        read, architecture = checkpoint.read(ladder.student_path(record.trial_id), EVERYTHING)
        assert cost.size(read)["params"] == record.measures["params"]
        assert ("surgeries" in architecture) is (record.candidate == 0)
        if record.candidate == 0:
            assert record.sizes["params"] == record.measures["params"] < record.initial_sizes["params"]
    assert json_views.status(ladder)["trials"]["finished"] == 3


def test_the_front_the_tables_and_mlflow_contain_candidates(ladder: SweepDir) -> None:
    document = json_views.front(ladder)
    assert all(one["trial"].startswith(f"{one['parent']}.") for one in document["students"])
    table = tutelage.front(ladder)
    assert table["trial"].tolist() == [one["trial"] for one in document["students"]]
    assert {"parent", "amount", "made"} <= set(tutelage.trials(ladder).columns)
    client = mlflow.MlflowClient(tracking_uri=ladder.tracking_uri)
    parent = ladder.facts()["run_id"]
    (experiment,) = {client.get_run(parent).info.experiment_id}
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    tags = {run.data.tags["trial_id"]: run.data.tags for run in runs}
    assert sorted(tags) == [record.trial_id for record in ladder.records()]
    assert Counter(one["parent_trial"] for one in tags.values()) == {"t0000": 2, "t0001": 2, "t0002": 2}
    assert {name for name, one in tags.items() if one["pareto"] == "front"} == set(table["trial"])
    assert tags["t0000.1"]["candidate.made"] == "whole" and tags["t0000.0"]["candidate.amount"] == "0.5"
    assert all("latency_ms" in record.measures for record in ladder.records() if record.trial_id in set(table["trial"]))


def test_a_candidate_is_selected_confirmed_and_exported(ladder: SweepDir, tmp_path: Path) -> None:
    chosen = select.select(ladder, policy="min-size", confirm=2)
    taken = chosen.document["student"]["trial"]
    assert taken.endswith(".0"), "the smallest is of low rank"
    assert chosen.student_dir == ladder.student_path(taken) and chosen.report_path.exists()
    trained = {(run.trial, run.distilled, run.seed) for run in ladder.reruns.read()}
    other = taken[:-1] + "1"
    assert {(other, taught, seed) for trial, taught, seed in trained if trial == taken} <= trained, "one training gives both"
    assert chosen.document["confirmed"]["seeds"] == 2 and chosen.document["test"]["label_only"]
    found = find_model(f"ladder/{other}", ladder.storage.uri)
    assert found.record is not None and found.record.parent == taken[:-2]
    with pytest.raises(InputError, match=r"gave several candidates: t0000\.0, t0000\.1\. Name one"):
        find_model("ladder/t0000", ladder.storage.uri)
    assert find_model("ladder", ladder.storage.uri).name == f"ladder/{taken}"
    export_model(f"ladder/{taken}", tmp_path / "out", ladder.storage.uri, Options(check=True))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["about"]["trial"] == taken
    read, _ = checkpoint.read(tmp_path / "out", EVERYTHING)
    assert cost.size(read)["params"] == chosen.document["student"]["measures"]["params"]


def test_a_resumed_and_a_warm_started_sweep_contain_the_candidates(ladder: SweepDir) -> None:
    before = ladder.trials()
    warm = spec_of(ladder.storage.uri, name="warm", search={"warm_start": ["ladder"]})
    again = pipeline.sweep(warm)
    recalled = [trial for trial in again.trials() if trial.origin.startswith("recalled from ladder/")]
    assert recalled and all(len(trial.candidates) == 2 for trial in recalled)
    assert all((again.student_path(one.trial_id) / checkpoint.WEIGHTS).exists() for one in again.records())
    resume.resume(ladder, trials="+1")
    assert ladder.trials()[:3] == before and len(ladder.records()) == 8
    runs = ladder.facts()["run_ids"]
    assert sorted(runs) == [record.trial_id for record in ladder.records()]
