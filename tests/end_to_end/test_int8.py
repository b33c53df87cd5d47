"""A sweep with `quantise`: each network of a ladder by sensitivity is also a candidate as the int8 file that is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SMALL_SPEC
from tutelage.export.evaluate import evaluate_model
from tutelage.networks import onnx_format, runtime
from tutelage.report import json_views
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_each_rung_is_a_candidate_as_float_and_as_its_measured_int8_file(tmp_path: Path) -> None:
    method = {"channels": {"allocation": "sensitivity"}}
    spec = loading.from_dict({
        **SMALL_SPEC,
        "name": "int8",
        "storage": str(tmp_path),
        "teacher": {**SMALL_SPEC["teacher"], "epochs": 1},
        "student": {"epochs": 3, "model": {"mlp": {"hidden": 32, "depth": 2}}},
        "sparsity": {"amount": 0.5, "method": method, "quantise": True, "ladder": {"rungs": 1, "recovery_epochs": 1}},
        "guard": {"max_drop": 0.05},
        "search": {"trials": 1, "concurrency": 1, "objectives": ["accuracy", "size_bytes"]},
    })  # fmt: skip
    home = pipeline.sweep(spec)
    records = {record.trial_id: record for record in home.records()}
    files = {trial: runtime.int8_file(home.student_path(trial)) for trial in records}
    assert len(records) == 4 and sum(file is not None for file in files.values()) == 2
    for trial, file in files.items():
        measures = records[trial].measures
        found = evaluate_model(f"int8/{trial}", spec, "validation", home.storage.uri)
        assert found["accuracy"] == pytest.approx(measures["accuracy"]), "the file itself was measured"
        assert file is None or measures["size_bytes"] == onnx_format.size_bytes(file)
    macs = sorted({record.measures["macs"] for record in records.values()})
    assert len(macs) == 2 and macs[0] <= 0.5 * macs[1]
    (float_rung,) = [t for t, file in files.items() if not file and records[t].measures["macs"] == macs[0]]
    assert "shares by sensitivity" in records[float_rung].candidates[0].made
    assert {one["trial"] for one in json_views.front(home)["students"]} & {trial for trial, file in files.items() if file}
