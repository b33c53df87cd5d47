"""A sweep whose trials climb ladders, from its search to a confirmed, registered and exported rung."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest

import tutelage
from tests.conftest import SMALL_SPEC
from tutelage.export.export import Options, export_model
from tutelage.networks import checkpoint, cost
from tutelage.records.sweep_dir import SweepDir
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def home(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    return pipeline.sweep(loading.from_dict({
        **SMALL_SPEC,
        "name": "ladders",
        "storage": str(tmp_path_factory.mktemp("ladders")),
        "student": {"epochs": 4, "model": {"mlp": {"hidden": 32}}},
        "sparsity": {"amount": {"float": [0.5, 0.75]}, "method": "channels", "ladder": {"rungs": 2, "recovery_epochs": 1}},
        "search": {"trials": 2, "concurrency": 1, "objectives": ["accuracy", "params"]},
    }))  # fmt: skip


def test_each_rung_is_on_record_with_its_own_amount_and_the_sampler_has_one_result_a_trial(home: SweepDir) -> None:
    records = home.records()
    assert [record.trial_id for record in records] == [f"t000{number}.{rung}" for number in (0, 1) for rung in (0, 1, 2)]
    for record in records:
        read, _ = checkpoint.read(home.student_path(record.trial_id))
        assert cost.size(read)["params"] == record.measures["params"]
        assert record.params["sparsity.amount"] == record.config["sparsity"]["amount"] == record.candidates[0].amount
        assert record.config["student"]["epochs"] == 2 + (record.rung or 0)
    journal = [json.loads(line) for line in home.files.local_path("study.journal").read_text().splitlines()]
    told = [line["values"] for line in journal if line.get("values")]
    trials = home.trials()
    assert len(told) == 2, "the sampler has one result a trial"
    assert [trial.measures["params"] for trial in trials] == [record.measures["params"] for record in records[2::3]]
    assert all(trial.sizes["params"] == trial.measures["params"] for trial in trials), "the size was known before training"
    table = tutelage.trials(home).set_index("trial")
    assert table["inherited"].to_dict() == {record.trial_id: record.is_inherited for record in records}
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri)
    runs = {name: client.get_run(run).data for name, run in home.facts()["run_ids"].items()}
    assert {name: run.tags["candidate.inherited"] for name, run in runs.items()} == {
        record.trial_id: str(record.is_inherited).lower() for record in records
    }
    for record in records:
        assert float(runs[record.trial_id].params["sparsity.amount"]) == pytest.approx(record.candidates[0].amount)


def test_a_rung_is_selected_confirmed_registered_and_exported(home: SweepDir, tmp_path: Path) -> None:
    records = home.records()
    chosen = select.select(home, policy="min-size", confirm=1, register="ladders-tests")
    taken = next(record for record in records if record.trial_id == chosen.document["student"]["trial"])
    assert taken.rung == 2 and chosen.document["confirmed"]["seeds"] == 1 and chosen.document["model"]
    export_model(f"ladders/{records[1].trial_id}", tmp_path / "out", home.storage.uri, Options(check=True))
    exported, _ = checkpoint.read(tmp_path / "out")
    assert cost.size(exported)["params"] == records[1].measures["params"]
