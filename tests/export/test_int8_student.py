"""A student that is an int8 file: what is exported, measured and tested is that file, and its float network is not it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import torch

from tests.stored_sweep import write_sweep
from tutelage.errors import InputError
from tutelage.export import export, load, logged_model, registry
from tutelage.export.evaluate import evaluate_model
from tutelage.files import sha256_of, write_json
from tutelage.networks import checkpoint, onnx_format, runtime
from tutelage.networks.trust import EVERYTHING
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.selection import champions
from tutelage.signature import signature_of
from tutelage.training import int8
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, context: TrainingContext) -> SweepDir:
    """A sweep whose selected student, t0001, is quantised."""
    found = write_sweep(tmp_path_factory.mktemp("storage"), context, [{"mlp": {"hidden": 8}}, {"mlp": {"hidden": 64}}])
    directory = found.student_path("t0001")
    model, architecture = checkpoint.read(directory, EVERYTHING)
    int8.quantise(model, context, directory / runtime.INT8_FILE, runtime.described(architecture))
    write_json(directory / checkpoint.ARCHITECTURE, {**architecture, runtime.INT8: sha256_of(directory / runtime.INT8_FILE)})
    return found


def test_its_export_is_the_measured_file_with_both_latencies_on_the_card(home: SweepDir, tmp_path: Path) -> None:
    out = tmp_path / "out"
    document = export.export_model("stored", out, home.storage.uri, export.Options(check=True))
    assert [one["form"] for one in document["files"].values() if one["form"]] == ["onnx-int8"]
    assert sha256_of(out / runtime.INT8_FILE) == sha256_of(home.student_path("t0001") / runtime.INT8_FILE)
    assert not document["refused"] and list(document["largest_difference"]) == ["onnx-int8"]
    manifest, (variant,) = json.loads((out / "manifest.json").read_text()), document["quantised"]
    assert manifest["files"][runtime.INT8_FILE]["measured"]["latency_ms"] == variant["latency_ms"] > 0
    card = (out / "README.md").read_text()
    assert f"{variant['latency_ms']:.3g} ms in place of {variant['float_latency_ms']:.3g}" in card
    assert "expected calibration error is" in card


def test_float_forms_are_those_of_another_candidate(home: SweepDir, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is quantised to int8 and has the form onnx-int8 alone, not weights"):
        export.export_model("stored", tmp_path / "out", home.storage.uri, export.Options(forms=["weights", "onnx-int8"]))
    assert not (tmp_path / "out").exists()


def test_its_evaluation_is_that_of_the_file(home: SweepDir) -> None:
    file = home.student_path("t0001") / runtime.INT8_FILE
    found = evaluate_model("stored/t0001", home.spec(), "validation", home.storage.uri)
    alone = evaluate_model(str(file), home.spec(), "validation", home.storage.uri)
    assert found["form"] == "onnx" and found["size_bytes"] == onnx_format.size_bytes(file)
    assert (found["accuracy"], found["calibration_error"]) == (alone["accuracy"], alone["calibration_error"])
    assert found["intervals"]["calibration_error"][0] < found["calibration_error"]


@pytest.mark.parametrize("how", ["another", "missing", "cut"])
def test_an_int8_file_that_was_exchanged_is_an_error(home: SweepDir, tmp_path: Path, how: str) -> None:
    changed = shutil.copytree(home.student_path("t0001"), tmp_path / "student")
    file = changed / runtime.INT8_FILE
    content = file.read_bytes()
    file.unlink()
    if how == "another":  # as good a file as the first, of another network
        model, architecture = checkpoint.read(home.student_path("t0000"), EVERYTHING)
        runtime.write_onnx(file, model, signature_of(architecture["signature"]), runtime.described(architecture))
    elif how == "cut":
        file.write_bytes(content[: len(content) // 2])
    for attempt in (
        lambda: load.read(changed),
        lambda: evaluate_model(str(changed), home.spec(), "validation", home.storage.uri),
        lambda: export.export_model(str(changed), tmp_path / "out", home.storage.uri, export.Options(check=True)),
    ):
        with pytest.raises(
            InputError, match=r"model\.int8\.onnx is not there, or is another file than the one that was measured"
        ):
            attempt()
    assert not (tmp_path / "out").exists()


def test_the_registry_has_the_measured_file_which_runs_without_tutelage_and_is_the_next_students_champion(
    home: SweepDir,
    context: TrainingContext,
    mlflow_store: Callable[[Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = mlflow_store(tmp_path)
    tracker = Tracker(uri, "tests")
    run = logged_model.Run(uri=uri, experiment_id=tracker.experiment_id, run_id=tracker.start_sweep("sweep", {}, [], {}))
    tracker.close()
    tags = {"tutelage.task": str(context.task), "tutelage.sweep": "stored", "tutelage.trial": "t0001"}
    candidate = champions.candidate_of(home.student_path("t0001"), home.spec().own_code(), context, tags)
    registered = registry.register_student(run, candidate, "small")
    assert registered.distance < 1e-4, "read back in another process by MLflow's ONNX flavour"
    directory = registry.download_network(uri, "models:/small@champion")
    measured = home.student_path("t0001") / runtime.INT8_FILE
    assert directory and sha256_of(directory / runtime.INT8_FILE) == sha256_of(measured)
    monkeypatch.setattr(SweepDir, "tracking_uri", uri)
    former = champions.champion(champions.Registration(name="small"), home, context)
    assert former and former.size_bytes == onnx_format.size_bytes(measured)
    some = context.splits["validation"].take(slice(5)).arguments
    assert torch.equal(former.model(*some), runtime.opened(measured)(*some))
    version = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version("small", "1")
    assert version.tags["tutelage.form"] == "onnx-int8"


def test_an_int8_file_of_a_table_is_not_registered_as_it_takes_no_rows(
    home: SweepDir, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = runtime.signature_in(home.student_path("t0001"))
    rows = replace(signature, inputs=(replace(signature.inputs[0], columns=(SimpleNamespace(kind="number", name="a"),)),))  # type: ignore[arg-type]
    monkeypatch.setattr(runtime, "signature_in", lambda _: rows)
    with pytest.raises(InputError, match=r"t0001 is an int8 file, which takes numbers.* takes rows by column name"):
        champions.candidate_of(home.student_path("t0001"), home.spec().own_code(), context, {})
