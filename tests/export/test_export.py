"""Exports with real torch.export, real ONNX and real onnxruntime, read back where tutelage cannot be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tests.plain import Plain, architecture_of
from tests.stored_sweep import write_sweep
from tests.test_cli import run
from tutelage.errors import InputError, WorkFailed
from tutelage.export import bundle, check, evaluate, export, find, load, read_back
from tutelage.export.export import Options
from tutelage.export.forms import FLOAT_FORMS, FORMS, QUANTISED_FORMS
from tutelage.files import sha256_of
from tutelage.networks import checkpoint
from tutelage.records.sweep_dir import SweepDir
from tutelage.sparsity import Calibration, channels
from tutelage.spec import loading
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow
ABOUT = architecture_of({"convnet": {"width": 6}})
ALL = (*FLOAT_FORMS, *QUANTISED_FORMS)
FILES = {"README.md", "manifest.json", *(name for files in FORMS.values() for name in files)}

DIGITS = Calibration(arguments=(torch.zeros(2, 1, 8, 8),))


@pytest.fixture
def model() -> torch.nn.Module:
    built = channels.remove_channels(channels.Config(), checkpoint.build(ABOUT), DIGITS, 0.5)
    built(torch.randn(16, 1, 8, 8))
    return built.eval()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, context: TrainingContext) -> SweepDir:
    return write_sweep(tmp_path_factory.mktemp("storage"), context, [{"mlp": {"hidden": 8}}, {"mlp": {"hidden": 24}}])


@pytest.fixture(scope="module")
def exported(home: SweepDir, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("exports") / "out"
    return directory, export.export_model(
        "stored", directory, home.storage.uri, Options(forms=ALL, check=True, max_loss=0.5, licence="MIT")
    )


def test_every_form_gives_the_students_logits_where_tutelage_is_not_installed(exported: tuple[Path, dict[str, Any]]) -> None:
    directory, document = exported
    assert {path.name for path in directory.iterdir()} == FILES
    apart = document["largest_difference"]
    assert set(apart) == set(ALL)
    assert max(apart[form] for form in FLOAT_FORMS) <= 1e-5
    assert min(apart[form] for form in QUANTISED_FORMS) > 1e-5, "an int8 form that answers the same is not int8"


def test_the_manifest_describes_every_file(exported: tuple[Path, dict[str, Any]], context: TrainingContext) -> None:
    directory, _ = exported
    manifest = json.loads((directory / "manifest.json").read_text())
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    for name, about in manifest["files"].items():
        assert (sha256_of(directory / name), (directory / name).stat().st_size) == (about["sha256"], about["size_bytes"])
    assert manifest["files"]["model.onnx"]["written_with"]["onnx"] == onnx.__version__
    assert manifest["files"]["model.onnx"]["opset"] == 20
    inputs = onnx.load(directory / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in inputs] == ["batch", 1, 8, 8]
    assert manifest["files"]["model.int8.onnx"]["measured"]["value"] > 0.8
    assert manifest["outputs"][0]["class_names"] == list(context.signature.class_names)
    assert manifest["about"]["trial"] == "t0001" and manifest["about"]["licence"] == "MIT"


def test_a_quantised_form_is_smaller_and_its_loss_is_reported(exported: tuple[Path, dict[str, Any]]) -> None:
    _, document = exported
    for variant in document["quantised"]:
        assert variant["size_bytes"] < 0.5 * variant["float_size_bytes"]
        assert variant["loss"] == pytest.approx(variant["float_value"] - variant["value"])
        assert variant["loss_interval"][0] < variant["loss"] < variant["loss_interval"][1]
        assert variant["latency_ms"] > 0
    assert [said.split()[0] for said in document["kept"]] == list(QUANTISED_FORMS)


def test_a_form_that_loses_too_much_is_left_out_and_reported(
    home: SweepDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A student whose logits differ by less than int8 can tell: every answer is the last class in float, but not in int8."""
    built, architecture = checkpoint.read(home.student_path("t0001"))
    last = [module for module in built.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight[0] = 1e4
        last.bias[0] = -1e7
    checkpoint.write(tmp_path / "odd", built, architecture)
    asked = ("export", tmp_path / "odd", tmp_path / "out", "--form", "onnx", "--form", "onnx-int8", "--data", home.spec_path)
    code, out, err = run(capsys, *asked, "--storage", home.storage.uri, "--json")
    assert code == 1 and "onnx-int8 loses" in err and "the other files are in" in err
    document = json.loads(out)
    (variant,) = document["quantised"]
    assert not variant["is_written"] and variant["loss"] > 0.01
    assert "onnx-int8 loses" in document["refused"][0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "README.md", "manifest.json"}
    assert "left out" in (tmp_path / "out" / "README.md").read_text()


def test_the_cards_snippets_run_alone_and_give_the_students_logits(
    exported: tuple[Path, dict[str, Any]], home: SweepDir, context: TrainingContext, tmp_path: Path
) -> None:
    directory, _ = exported
    snippets = re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 2
    stored = Plain(context.splits["validation"]).inputs[:5]
    np.save(tmp_path / "stored.npy", stored.numpy())
    built, _ = checkpoint.read(home.student_path("t0001"))
    with torch.inference_mode():
        expected = built(context.splits["validation"].take(slice(5)).inputs["inputs"]).numpy()
    asks = f"\nnumpy.save({str(tmp_path / 'answers.npy')!r}, logits_of(numpy.load({str(tmp_path / 'stored.npy')!r})))\n"
    for snippet in snippets:
        alone = "import sys\nsys.modules['tutelage'] = None\n" + snippet + asks
        done = subprocess.run([sys.executable, "-I", "-c", alone], cwd=directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, atol=1e-5)
        assert done.stdout.strip().startswith("['")


def test_the_card_states_what_is_on_record_and_what_was_not_measured(
    exported: tuple[Path, dict[str, Any]], home: SweepDir, tmp_path: Path
) -> None:
    directory, _ = exported
    card = (directory / "README.md").read_text()
    for part in (
        "license: MIT", "0.9400 (0.9100 to 0.9600)", "0.9500 (0.9300 to 0.9700)", "evaluated 2 times", "20,000 parameters",
        "Inconclusive", "| digits, SHA-256", "1×8×8",
    ):  # fmt: skip
        assert part in card, part
    assert home.storage.uri not in card
    export.export_model("stored/t0000", tmp_path / "other", home.storage.uri, Options(forms=["weights"]))
    other = (tmp_path / "other" / "README.md").read_text()
    assert "was not selected and confirmed" in other and "0.9400" not in other and "not stated" in other


def test_the_card_names_the_data_without_its_path() -> None:
    assert export._without_path({"cifar": {"path": "/home/me/cifar", "kind": "100"}}) == "cifar (kind: 100)"
    assert export._without_path({"cifar": {"path": "/home/me/cifar"}}) == "cifar" == export._without_path("cifar")


def test_no_file_contains_a_path_of_this_machine(exported: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = exported
    for path in directory.iterdir():
        content = path.read_bytes()
        assert b"site-packages" not in content and str(Path(__file__).parents[2]).encode() not in content, path.name


@pytest.mark.parametrize("tampered", FLOAT_FORMS)
def test_a_check_detects_another_students_weights_and_leaves_no_file(
    tmp_path: Path, model: torch.nn.Module, tampered: str
) -> None:
    other = channels.remove_channels(channels.Config(), checkpoint.seeded(ABOUT, 1), DIGITS, 0.5)
    with bundle.drafted(tmp_path / "other", other, ABOUT, [tampered]):
        pass
    left_out = (
        pytest.raises(WorkFailed, match=f"logits differ from the student's: {tampered}"),
        bundle.drafted(tmp_path / "out", model, ABOUT, [tampered]),
    )
    with left_out[0], left_out[1] as draft:
        for name in FORMS[tampered]:
            (draft.directory / name).write_bytes((tmp_path / "other" / name).read_bytes())
        check.differences(draft, (torch.randn(9, 1, 8, 8),))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("forms", [("onnx",), ("weights",)])
def test_only_the_requested_forms_are_written(tmp_path: Path, model: torch.nn.Module, forms: tuple[str, ...]) -> None:
    with bundle.drafted(tmp_path / "out", model, ABOUT, forms) as draft:
        assert draft.written() == forms
        assert set(check.differences(draft, (torch.randn(3, 1, 8, 8),))) == set(forms)


def test_a_directory_that_is_not_empty_is_unchanged(tmp_path: Path, home: SweepDir) -> None:
    (tmp_path / "mine").write_text("x")
    for directory in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError, match="Give a new directory"):
            export.export_model("stored", directory, home.storage.uri)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forms": ["onyx"]}, "Did you mean 'onnx'"),
        ({"model": "stored/t0009"}, "no trained student 't0009'"),
        ({"model": "nobody"}, "no sweep 'nobody'"),
    ],
)
def test_a_wrong_argument_is_an_error_and_leaves_no_file(
    home: SweepDir, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    model, forms = changes.get("model", "stored"), changes.get("forms", FLOAT_FORMS)
    with pytest.raises(InputError, match=said):
        export.export_model(model, tmp_path / "out", home.storage.uri, Options(forms=forms))
    assert list(tmp_path.iterdir()) == []


def test_an_exported_directory_is_matched_to_its_trial_by_its_weights(
    exported: tuple[Path, dict[str, Any]], home: SweepDir, tmp_path: Path
) -> None:
    """So a directory can be checked and quantised without naming its data."""
    directory, _ = exported
    assert find.find_model(str(directory), home.storage.uri).about()["trial"] == "t0001"
    stranger = find.find_model(str(directory), tmp_path)
    assert stranger.home is None
    with pytest.raises(InputError, match="--data SPEC"):
        export.export_model(str(directory), tmp_path / "out", tmp_path, Options(check=True))


def test_every_form_is_evaluated_by_the_same_protocol(exported: tuple[Path, dict[str, Any]], home: SweepDir) -> None:
    directory, _ = exported
    loaded, record = loading.load(home.spec_path), home.records()[-1]
    found = {
        form: evaluate.evaluate_model(str(directory if form == "weights" else directory / FORMS[form][0]), loaded,
                                     "validation", home.storage.uri)
        for form in ALL
    }  # fmt: skip
    for form in FLOAT_FORMS:
        assert found[form]["accuracy"] == pytest.approx(record.measures["accuracy"])
        assert found[form]["size_bytes"] == pytest.approx(record.measures["size_bytes"], rel=0.02)
    for document in found.values():
        low, high = document["interval"]
        assert low < document["accuracy"] < high and document["latency_ms"] > 0 and document["examples"] == 359
    assert found["onnx-int8"]["size_bytes"] < 0.5 * found["onnx"]["size_bytes"]
    assert evaluate.evaluate_model("stored", loaded, "test", home.storage.uri)["form"] == "weights"


def test_a_model_of_other_examples_or_classes_is_an_error_with_both_sides(
    tmp_path: Path, home: SweepDir, exported: tuple[Path, dict[str, Any]]
) -> None:
    loaded = loading.load(home.spec_path)
    wrong = {
        r"takes examples of shape \(3, 8, 8\), the data has \(1, 8, 8\)": {"shape": (3, 8, 8)},
        "gives 7 classes, the data has 10": {"names": "abcdefg"},
        "'1' stands where the data has '0'": {"names": "1023456789"},
    }
    for number, (said, change) in enumerate(wrong.items()):
        about = architecture_of(ABOUT["model"], **change)
        with bundle.drafted(tmp_path / str(number), checkpoint.build(about), about, FLOAT_FORMS):
            pass
        for form in ("", "model.pt2", "model.onnx"):
            with pytest.raises(InputError, match=said):
                evaluate.evaluate_model(str(tmp_path / str(number) / form), loaded, "validation", home.storage.uri, trust=True)


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path, home: SweepDir) -> None:
    loaded = loading.load(home.spec_path)
    (tmp_path / "x.onnx").write_bytes(b"no")
    (tmp_path / "x.pt2").write_bytes(b"no")
    (tmp_path / "x.txt").write_bytes(b"no")
    for name, said in {
        "x.onnx": "readable ONNX",
        "x.pt2": "readable torch.export",
        "x.txt": "not an exported",
        "y.pt2": "no such",
    }.items():
        with pytest.raises(InputError, match=said):
            evaluate.evaluate_model(str(tmp_path / name), loaded, "validation", home.storage.uri)
    with pytest.raises(InputError, match="no split 'tset'"):
        evaluate.evaluate_model("stored", loaded, "tset", home.storage.uri)


def test_a_program_that_holds_more_than_tensors_is_not_loaded(exported: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import pickle
    import zipfile

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    for place in (
        "model/data/constants/opaque_obj_0",
        "model/data/aotinductor/model/x.so",
        "model/data/sample_inputs/model.pt",
    ):
        bad = tmp_path / "bad.pt2"
        with zipfile.ZipFile(exported[0] / "model.pt2") as good, zipfile.ZipFile(bad, "w") as written:
            for name in good.namelist():
                if name != place:
                    written.writestr(name, good.read(name))
            written.writestr(place, pickle.dumps(Evil()))
        with pytest.raises(InputError, match=r"bad\.pt2"):
            load.read(bad)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["convnet", "mobilenet", "vit"])
def test_networks_for_photographs_give_equal_logits_in_every_form(tmp_path: Path, name: str) -> None:
    """Untrained, with norms that have seen numbers, and logits as large as a trained network's."""
    about = architecture_of(name, (3, 32, 32))
    built, inputs = checkpoint.seeded(about, 0), torch.randn(64, 3, 32, 32)
    for _ in range(3):
        built.train()(inputs)
    with torch.no_grad():
        head = [module for module in built.modules() if isinstance(module, torch.nn.Linear)][-1]
        head.weight.mul_(10 / built.eval()(inputs).abs().max())
    with bundle.drafted(tmp_path / "out", built, about, FLOAT_FORMS) as draft:
        apart = check.differences(draft, (inputs,))
    print(name, apart)
    assert set(apart) == set(FLOAT_FORMS) and max(apart.values()) <= read_back.TOLERANCE


def test_of_two_exports_into_one_directory_the_later_one_is_an_error(tmp_path: Path) -> None:
    """Both find it new; what the first has written stays."""
    about = architecture_of("mlp", (1, 2, 2))
    model = checkpoint.seeded(about, 0)
    late = bundle.drafted(tmp_path / "out", model, about, ["weights"])
    late.__enter__()
    with bundle.drafted(tmp_path / "out", model, about, ["weights"]):
        pass
    first = {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match=r"is not empty\. Give a new directory"):
        late.__exit__(None, None, None)
    assert {path.name: path.stat().st_ino for path in (tmp_path / "out").iterdir()} == first and len(first) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
