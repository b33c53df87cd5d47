"""A sweep with a guard, from its halved validation to the guarantee in MLflow, the model card and the registry."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from tests.conftest import SMALL_SPEC
from tutelage.export.export import Options, export_model
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_a_guarded_sweep_certifies_what_its_student_loses(tmp_path: Path) -> None:
    spec = loading.from_dict({
        **SMALL_SPEC,
        "name": "guarded",
        "storage": str(tmp_path),
        "student": {"epochs": 2, "model": {"mlp": {"hidden": {"choice": [40, 48]}}}},
        "distillation": {"temperature": 4.0, "weight": 0.5},
        "sparsity": {"amount": 0.2, "method": "tests.ladder:LowRank"},
        "guard": {"max_drop": 0.9, "against": "dense"},
        "search": {"trials": 1, "concurrency": 1},
    })  # fmt: skip
    home = pipeline.sweep(spec)
    facts = home.facts()
    assert facts["num_examples"]["validation"] - facts["num_examples"]["certification"] in (0, 1)
    choice = select.select(home, policy="best-quality", confirm=1, register="guarded")
    guard, taken = choice.document["guard"], choice.document["student"]["trial"]
    assert guard["is_certified"] and taken == guard["result"] and taken.endswith(".0"), "the one of low rank"
    assert guard["n"] == facts["num_examples"]["certification"]
    assert {one["trial"] for one in choice.document["candidates"]} >= {taken} and choice.document["confirmed"]["seeds"] == 1
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri, registry_uri=home.tracking_uri)
    assert client.get_run(facts["run_id"]).data.tags["selected.guard"] == guard["guarantee"]
    own = client.get_run(home.facts()["run_ids"][taken]).data.metrics
    assert own["guard/n"] == guard["n"] and own["guard/p_value"] == pytest.approx(guard["steps"][0]["p_value"])
    assert client.get_model_version("guarded", "1").tags["tutelage.guard"] == guard["guarantee"]
    assert "The guard" in choice.report_path.read_text(encoding="utf-8")
    export_model("guarded", tmp_path / "out", home.storage.uri, Options(forms=("weights",)))
    assert f"loses less than 90.00 points of accuracy against the dense student {taken[:-1]}1" in (
        tmp_path / "out" / "README.md"
    ).read_text(encoding="utf-8")
    again = select.select(home, policy="best-quality", confirm=1)
    assert again.document["guard"] == guard and len(home.facts()["certifications"]) == 1
