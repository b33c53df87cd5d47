"""Exports of a network of ragged tokens that gives two label sequences: every form, any length, with and without padding."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
import torch
from mlflow.pyfunc import scoring_server
from torch import Tensor, nn

from tests.tagging import INTENTS, SLOTS, VOCABULARY
from tutelage.errors import InputError, WorkFailed
from tutelage.export import bundle, check, evaluate, export, load, logged_model, read_back, registry
from tutelage.export.export import Options
from tutelage.export.forms import FLOAT_FORMS, FORMS, QUANTISED_FORMS
from tutelage.networks import checkpoint
from tutelage.networks.program import output_names, program_of
from tutelage.networks.trust import EVERYTHING
from tutelage.records.tracker import Tracker
from tutelage.spec import loading
from tutelage.training import inference
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow
SPEC = {
    "name": "tags", "data": "tests.tagging:Sentences", "task": "tests.tagging:Tagging",
    "teacher": {"model": "tests.tagging:Tagger"}, "student": {"model": "tests.tagging:Tagger"},
}  # fmt: skip
ALL = (*FLOAT_FORMS, *QUANTISED_FORMS)


@dataclass(frozen=True, kw_only=True)
class Trained:
    context: TrainingContext
    model: nn.Module
    architecture: dict[str, Any]
    directory: Path
    exported: Path
    document: dict[str, Any]

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """Padded examples of 1 to 7 tokens."""
        return self.context.splits["validation"].take(slice(20)).arguments


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A tagger that has learnt a little, its directory, and its export in every form."""
    room = TrainingContext(data=SPEC["data"], task=SPEC["task"], seed=0)
    architecture, home = room.architecture(SPEC["student"]["model"]), tmp_path_factory.mktemp("tagger")
    model, task, train = checkpoint.seeded(architecture, 0), room.built_task, room.splits["train"].take(slice(None))
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(15):
        loss = task.loss(task.forward(model, train), train).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    checkpoint.write(home / "student", model, architecture)
    options = Options(forms=ALL, check=True, data=loading.from_dict(SPEC), max_loss=1.0)
    document = export.export_model(str(home / "student"), home / "out", home, options)
    return Trained(
        context=room, model=model.eval(), architecture=architecture, directory=home / "student", exported=home / "out",
        document=document,
    )  # fmt: skip


def place(trained: Trained, form: str) -> Path:
    return trained.exported if form == "weights" else trained.exported / FORMS[form][0]


def test_every_form_gives_the_students_logits_at_real_steps(trained: Trained) -> None:
    apart = trained.document["largest_difference"]
    assert set(apart) == set(ALL) and max(apart[form] for form in FLOAT_FORMS) <= read_back.TOLERANCE
    assert min(apart[form] for form in QUANTISED_FORMS) > read_back.TOLERANCE


@pytest.mark.parametrize("form", QUANTISED_FORMS)
def test_a_quantised_form_needs_no_examples_of_one_length(trained: Trained, form: str) -> None:
    """With ranges for every operation, `onnx-int8` has 0.63 of the intents right in padded batches, and all of them alone."""
    variant = next(one for one in trained.document["quantised"] if one["form"] == form)
    assert variant["loss"] < 0.05
    module, (tokens, mask) = load.read(place(trained, form), EVERYTHING).module, trained.arguments
    with torch.inference_mode():
        together, expected = module(tokens, mask)["intent"].argmax(dim=1), trained.model(tokens, mask)["intent"].argmax(dim=1)
    assert (together == expected).float().mean() > 0.9


@pytest.mark.parametrize("form", FLOAT_FORMS)
def test_an_example_has_the_same_logits_alone_and_padded(trained: Trained, form: str) -> None:
    """Computed here from the file alone, at batches and lengths that it was not traced with."""
    module, (tokens, mask) = load.read(place(trained, form), EVERYTHING).module, trained.arguments
    wide = torch.nn.functional.pad(tokens, (0, 9)), torch.nn.functional.pad(mask, (0, 9))
    with torch.inference_mode():
        together = module(*wide)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            alone = module(tokens[row : row + 1, :length].contiguous(), mask[row : row + 1, :length].contiguous())
            torch.testing.assert_close(together["slots"][row, :length], alone["slots"][0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together["intent"][row], alone["intent"][0], atol=1e-5, rtol=0)


def test_the_manifest_has_every_input_and_output(trained: Trained) -> None:
    manifest = json.loads((trained.exported / "manifest.json").read_text())
    tokens, mask = manifest["inputs"]
    assert (tokens["name"], tokens["dtype"], tokens["shape"]) == ("tokens", "int64", ["batch", "tokens_steps"])
    assert (tokens["vocabulary"], tokens["mask"]) == (list(VOCABULARY), "tokens_mask")
    assert mask == {"name": "tokens_mask", "dtype": "bool", "shape": ["batch", "tokens_steps"], "kind": "mask", "of": "tokens"}
    slots, intent = manifest["outputs"]
    assert (slots["name"], slots["steps"], slots["class_names"]) == ("slots", "tokens", list(SLOTS))
    assert (slots["shape"], intent["shape"]) == (["batch", "tokens_steps", 4], ["batch", 2])
    assert (intent["name"], intent["steps"], intent["class_names"]) == ("intent", None, list(INTENTS))


@pytest.mark.parametrize("form", ["onnx", *QUANTISED_FORMS])
def test_onnx_names_its_inputs_outputs_and_free_dimensions(trained: Trained, form: str) -> None:
    graph = onnx.load(place(trained, form)).graph
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    steps = ["batch", "tokens_steps"]
    assert shapes == {"tokens": steps, "tokens_mask": steps, "slots": [*steps, 4], "intent": ["batch", 2]}


@pytest.mark.parametrize("form", ALL)
def test_every_form_is_evaluated_with_all_measures_and_their_intervals(trained: Trained, form: str) -> None:
    found = evaluate.evaluate_model(
        str(place(trained, form)), loading.from_dict(SPEC), "validation", trained.exported, trust=True
    )
    own = inference.measured(trained.model, trained.context.built_task, trained.context.splits["validation"])
    for name in ("slot_error", "request_accuracy"):
        low, high = found["intervals"][name]
        assert low - 1e-9 <= found[name] <= high + 1e-9
        if form in FLOAT_FORMS:
            assert found[name] == pytest.approx(own[name])
    assert found["interval"] == found["intervals"]["slot_error"] and found["latency_ms"] > 0


def test_the_cards_snippets_pad_and_mask_by_themselves(trained: Trained, tmp_path: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (trained.exported / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 2
    tokens, mask = trained.arguments
    sentences = [row[real].tolist() for row, real in zip(tokens[:5], mask[:5], strict=True)]
    assert len(set(map(len, sentences))) > 1
    cut = slice(None), slice(max(map(len, sentences)))
    with torch.inference_mode():
        expected = trained.model(tokens[:5][cut].contiguous(), mask[:5][cut].contiguous())
    for snippet in snippets:
        asks = (
            f"\nlogits = logits_of([{{'tokens': one}} for one in {sentences}])"
            f"\nnumpy.savez({str(tmp_path / 'answers.npz')!r}, **logits)\n"
        )
        alone = "import sys\nsys.modules['tutelage'] = None\n" + snippet + asks
        command = [sys.executable, "-I", "-c", alone]
        done = subprocess.run(command, cwd=trained.exported, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers = np.load(tmp_path / "answers.npz")
        real = mask[:5][cut].numpy()
        np.testing.assert_allclose(answers["slots"][real], expected["slots"].numpy()[real], atol=1e-5)
        np.testing.assert_allclose(answers["intent"], expected["intent"].numpy(), atol=1e-5)
        assert done.stdout.startswith("slots ['") and "\nintent ['" in done.stdout


def test_a_student_whose_logits_depend_on_padding_is_not_exported(trained: Trained, tmp_path: Path) -> None:
    architecture = {**trained.architecture, "model": "tests.tagging:Leaky"}
    model = checkpoint.build(architecture)
    model.load_state_dict(trained.model.state_dict())
    with (
        pytest.raises(WorkFailed, match="depend on padding"),
        bundle.drafted(tmp_path / "out", model, architecture, ["weights"]) as draft,
    ):
        check.differences(draft, trained.arguments)
    assert not (tmp_path / "out").exists()


def test_a_network_that_fixes_a_length_is_not_exported(trained: Trained) -> None:
    class Fixed(nn.Module):
        def forward(self, tokens: Tensor, mask: Tensor) -> Any:
            features = tokens.float().reshape(-1, 4)
            return {"slots": features, "intent": features[:, :2]}

    with pytest.raises(WorkFailed, match="cannot be exported for any batch and length"):
        program_of(Fixed(), trained.context.signature)


def test_outputs_keep_their_names_in_whatever_order_the_network_gives_them(trained: Trained) -> None:
    class Turned(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, tokens: Tensor, mask: Tensor) -> Any:
            found = self.network(tokens, mask)
            return {"intent": found["intent"], "slots": found["slots"]}

    signature = trained.context.signature
    assert output_names(program_of(Turned(trained.model), signature), signature) == ["intent", "slots"]
    assert output_names(program_of(trained.model, signature), signature) == ["slots", "intent"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"inputs": {"names": ("ask", *VOCABULARY[1:])}}, "'ask' stands where the data has 'book'"),
        ({"outputs": {"names": tuple("abc")}}, "gives 3 classes of 'slots', the data has 4"),
        ({"outputs": {"name": "tags"}}, "gives the label sequences tags, intent, the data has slots, intent"),
    ],
)
def test_a_network_of_other_inputs_or_sequences_is_an_error(
    trained: Trained, tmp_path: Path, part: dict[str, Any], said: str
) -> None:
    document = json.loads(json.dumps(trained.architecture["signature"]))
    for kind, changes in part.items():
        document[kind][0].update(changes)
    architecture = {**trained.architecture, "signature": document}
    checkpoint.write(tmp_path / "other", checkpoint.build(architecture), architecture)
    with pytest.raises(InputError, match=said):
        evaluate.evaluate_model(str(tmp_path / "other"), loading.from_dict(SPEC), "validation", tmp_path)


def test_a_file_whose_signature_differs_from_its_graph_is_an_error(trained: Trained, tmp_path: Path) -> None:
    model = onnx.load(place(trained, "onnx"))
    document = json.loads(json.dumps(trained.architecture["signature"]))
    document["inputs"][0]["dtype"] = "float32"
    onnx.helper.set_model_props(model, {"signature": json.dumps(document)})
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(InputError, match="its signature has the inputs tokens float32"):
        load.read(tmp_path / "odd.onnx")
    onnx.helper.set_model_props(model, {})
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(InputError, match="holds no signature"):
        load.read(tmp_path / "bare.onnx")


def _check_served(uri: str, request: str, trained: Trained) -> None:
    """`mlflow models serve` loads the model as this does, and gives it what a request holds."""
    with registry._stores(uri):
        served = mlflow.pyfunc.load_model("models:/tagger@champion")
    found = json.loads(
        scoring_server.invocations(request, "application/json", served, served.metadata.get_input_schema()).response
    )
    with torch.inference_mode():
        expected = trained.model(*(one[:2] for one in trained.arguments))
    for name, logits in found["predictions"].items():
        np.testing.assert_allclose(np.array(logits), expected[name].numpy(), atol=1e-5)
    assert {*found["predictions"]} == {"slots", "intent"}


def test_a_student_of_several_inputs_is_registered_with_their_names_and_read_back(trained: Trained, tmp_path: Path) -> None:
    import yaml

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(uri, "tests")
    run = logged_model.Run(uri=uri, experiment_id=tracker.experiment_id, run_id=tracker.start_sweep("tags", {}, [], {}))
    tracker.close()
    files = [trained.directory / checkpoint.ARCHITECTURE, trained.directory / checkpoint.WEIGHTS]
    candidate = logged_model.Candidate(
        model=trained.model, signature=trained.context.signature, arguments=trained.arguments,
        tags={"tutelage.task": "tags"}, files=files,
    )  # fmt: skip
    made = registry.register_student(run, candidate, "tagger")
    assert made.distance <= read_back.TOLERANCE
    logged = registry.download(uri, "models:/tagger@champion")
    about = yaml.safe_load((logged / "MLmodel").read_text())["signature"]
    inputs, outputs = json.loads(about["inputs"]), json.loads(about["outputs"])
    assert [(one["name"], one["tensor-spec"]) for one in inputs] == [
        ("tokens", {"dtype": "int64", "shape": [-1, -1]}), ("tokens_mask", {"dtype": "bool", "shape": [-1, -1]}),
    ]  # fmt: skip
    assert [(one["name"], one["tensor-spec"]["shape"]) for one in outputs] == [("slots", [-1, -1, 4]), ("intent", [-1, 2])]
    (example,) = logged.rglob("serving_input_example.json")
    assert json.loads(example.read_text())["inputs"]["tokens"] == trained.arguments[0][:2].tolist()
    _check_served(uri, example.read_text(), trained)
    network = registry.download_network(uri, "models:/tagger@champion")
    assert load.read(network or tmp_path, EVERYTHING).signature == candidate.signature
    assert mlflow.get_tracking_uri() != uri, "MLflow's own state is as it was"
