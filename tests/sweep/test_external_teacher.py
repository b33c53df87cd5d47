"""Teachers from other sources: which files are read, which are an error, and that their code is not run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.data import test_slots
from tests.plain import architecture_of
from tutelage.errors import InputError
from tutelage.networks import checkpoint, stages
from tutelage.networks.weights import weights_of
from tutelage.spec.sections import TeacherConfig
from tutelage.sweep import external_teacher
from tutelage.training.context import TrainingContext

MODEL: dict[str, Any] = {"mlp": {"hidden": 8}}


@pytest.fixture(scope="module")
def context() -> TrainingContext:
    return TrainingContext(data="digits", task="image_classification", seed=0)


def made(context: TrainingContext, **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    architecture = architecture_of(MODEL, **changes)
    torch.manual_seed(1)
    return checkpoint.build(architecture).eval(), architecture


def read(context: TrainingContext, **teacher: Any) -> tuple[nn.Module, dict[str, Any]]:
    config = TeacherConfig(**teacher)
    blank = context.architecture(config.model or "")
    return external_teacher.read_teacher(config, blank, context.splits["train"], "")


def answers(model: nn.Module, context: TrainingContext) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(context.splits["validation"].take(slice(16)).inputs["inputs"])
    return found


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


FORMS: dict[str, Any] = {  # how training scripts save the weights of a network
    "state dict": lambda state: state,
    "checkpoint": lambda state: {"model": state, "epoch": 3},
    "nested": lambda state: {"model_state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "parallel": lambda state: prefixed("module.", state),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "compiled and parallel": lambda state: prefixed("module._orig_mod.", state),
    "part compiled": lambda state: {name.replace("stage1.", "stage1._orig_mod."): tensor for name, tensor in state.items()},
    "lightning": lambda state: {"state_dict": {**prefixed("model.", state), "loss.weight": torch.ones(3)}, "epoch": 1},
    "averaged": lambda state: {"ema": {**prefixed("module.", state), "n_averaged": torch.tensor(7)}},
    "twice": lambda state: {"model": state, "best": {name: tensor.clone() for name, tensor in state.items()}},
}  # fmt: skip


@pytest.mark.parametrize("form", ["safetensors", *FORMS])
def test_weights_saved_in_every_usual_form_give_the_same_outputs(context: TrainingContext, tmp_path: Path, form: str) -> None:
    model, _ = made(context)
    state, path = weights_of(model), tmp_path / "weights.pt"
    if form == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    else:
        torch.save(FORMS[form](state), path)
    found, _ = read(context, model=MODEL, weights=str(path))
    assert torch.equal(answers(found, context), answers(model, context))


def test_the_error_for_two_state_dicts_names_both_and_how_to_choose_one(context: TrainingContext, tmp_path: Path) -> None:
    state = weights_of(made(context)[0])
    torch.save({"state_dict": state, "state_dict_ema": {name: 2 * one for name, one in state.items()}}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"under \['state_dict'\]; under \['state_dict_ema'\].*torch\.save\(torch\.load"):
        read(context, model=MODEL, weights=str(tmp_path / "w.pt"))


def test_unexpected_names_are_an_error_with_the_names_that_they_may_stand_for(context: TrainingContext, tmp_path: Path) -> None:
    state = weights_of(made(context)[0])
    renamed = {name.replace("stage1.0.", "hidden."): tensor for name, tensor in state.items()}
    torch.save({"state_dict": prefixed("net.", renamed)}, tmp_path / "w.pt")
    with pytest.raises(InputError) as caught:
        read(context, model=MODEL, weights=str(tmp_path / "w.pt"))
    for part in (
        "under ['state_dict'], without the prefix 'net.'", "missing: stage1.0.weight, stage1.0.bias",
        "not in the model: hidden.weight, hidden.bias", "hidden.weight → stage1.0.weight, hidden.bias → stage1.0.bias",
    ):  # fmt: skip
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", ["integers", "sparse", "no mapping", "no tensors"])
def test_weights_of_a_wrong_type_are_one_message(context: TrainingContext, tmp_path: Path, kind: str) -> None:
    state = weights_of(made(context)[0])
    contents: dict[str, Any] = {
        "integers": {name: tensor.to(torch.int8) for name, tensor in state.items()},
        "sparse": {name: tensor.to_sparse() for name, tensor in state.items()},
        "no mapping": list(state.values()), "no tensors": {"epoch": 3, "names": list(state)},
    }  # fmt: skip
    torch.save(contents[kind], tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"^teacher\.weights .*w\.pt (does not fit|has no state dict)"):
        read(context, model=MODEL, weights=str(tmp_path / "w.pt"))


def test_logits_of_a_teacher_with_more_classes_are_reordered_to_the_datas_classes(
    context: TrainingContext, tmp_path: Path
) -> None:
    names = ["ten", *reversed([str(i) for i in range(10)])]
    model, architecture = made(context, names=names)
    checkpoint.write(tmp_path / "elsewhere", model, architecture)
    found, kept = read(context, path=str(tmp_path / "elsewhere"))
    assert torch.equal(answers(found, context), answers(model, context)[:, 1:].flip(1))
    checkpoint.write(tmp_path / "copy", found, kept)
    copy, _ = checkpoint.read(tmp_path / "copy")
    assert torch.equal(answers(copy, context), answers(found, context))
    inner = dict(model.named_parameters())
    weights = checkpoint.rows_of_classes(copy, dict(checkpoint.innermost(copy).named_parameters()))
    for name, weight in weights.items():
        expected = inner[name][1:].flip(0) if len(inner[name]) == 11 else inner[name]
        assert torch.equal(weight, expected), "a student inherits the rows of its classes"
    outline = stages.outline_of(copy, context.signature)
    assert outline.weights == {name: tuple(weight.shape) for name, weight in weights.items()}


def test_names_of_the_outputs_can_be_given(context: TrainingContext, tmp_path: Path) -> None:
    model, _ = made(context)
    torch.save(weights_of(model), tmp_path / "w.pt")
    names = [str(9 - i) for i in range(10)]
    found, _ = read(context, model=MODEL, weights=str(tmp_path / "w.pt"), classes=names)
    assert torch.equal(answers(found, context), answers(model, context).flip(1))


def test_a_name_of_two_outputs_is_an_error(context: TrainingContext, tmp_path: Path) -> None:
    model, _ = made(context, names=[*"0123456789", "ten"])
    torch.save(weights_of(model), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"teacher\.classes: two outputs are called '7'. Give each class of the data one"):
        read(context, model=MODEL, weights=str(tmp_path / "w.pt"), classes=[*"0123456789", "7"])
    named = read(context, model=MODEL, weights=str(tmp_path / "w.pt"), classes=[*"0123456789", "ten"])[0]
    assert torch.equal(answers(named, context), answers(model, context)[:, :10])


def test_weights_of_a_teacher_with_several_label_sequences_are_read(tmp_path: Path) -> None:
    """Classes are those of the data; others, and names for one sequence alone, are an error that says which."""
    test_slots.write(tmp_path / "data" / "train", *map(test_slots.sentence, range(40)))
    tags = TrainingContext(data={"slots": {"path": str(tmp_path / "data")}}, task="tagging", seed=0)
    options = {"bigru": {"embedding": 4, "hidden": 4}}
    about = tags.architecture(options)
    model = checkpoint.seeded(about, 3)
    torch.save(weights_of(model), tmp_path / "w.pt")
    found, kept = read(tags, model=options, weights=str(tmp_path / "w.pt"))
    assert kept["signature"] == about["signature"]
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in found.state_dict().items())
    with pytest.raises(
        InputError, match=r"teacher\.classes names the classes of one label sequence, and the task has slots, intent"
    ):
        read(tags, model=options, weights=str(tmp_path / "w.pt"), classes=["a", "b"])
    other = {**about, "signature": json.loads(json.dumps(about["signature"]).replace("B-day", "B-time"))}
    checkpoint.write(tmp_path / "other", model, other)
    with pytest.raises(InputError, match=r"in 'slots', 'B-time' stands where the data have 'B-day'"):
        read(tags, path=str(tmp_path / "other"))


def test_a_teacher_with_other_classes_is_an_error_with_both_counts(context: TrainingContext, tmp_path: Path) -> None:
    model, architecture = made(context, names=["cat", "dog"])
    checkpoint.write(tmp_path / "pets", model, architecture)
    with pytest.raises(InputError, match=r"has 2 classes and the data 10.*teacher\.classes"):
        read(context, path=str(tmp_path / "pets"))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.path),))  # type: ignore[attr-defined]


def test_a_weights_file_with_code_is_an_error_and_the_code_is_not_run(context: TrainingContext, tmp_path: Path) -> None:
    trap = Trap()
    trap.path = str(tmp_path / "ran")  # type: ignore[attr-defined]
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"weight": trap}))
    torch.save({"weight": trap}, tmp_path / "new.pt")
    for name in ("old.pt", "new.pt"):
        with pytest.raises(InputError, match=r"teacher\.weights .*(not loaded|cannot be read)") as caught:
            read(context, model=MODEL, weights=str(tmp_path / name))
        assert "weights_only" not in str(caught.value), "no word of how to run it all the same"
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_an_error_that_lists_their_names(context: TrainingContext, tmp_path: Path) -> None:
    model, _ = made(context)
    torch.save(weights_of(model), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"\(8, 64\) instead of \(16, 64\)"):
        read(context, model={"mlp": {"hidden": 16}}, weights=str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match="missing: "):
        read(context, model={"mlp": {"hidden": 8, "depth": 2}}, weights=str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match="cannot be read"):
        read(context, model=MODEL, weights=str(tmp_path / "none.pt"))


def test_a_teacher_for_other_examples_is_an_error(context: TrainingContext, tmp_path: Path) -> None:
    model, architecture = made(context, shape=(1, 16, 16))
    checkpoint.write(tmp_path / "larger", model, architecture)
    with pytest.raises(InputError, match=r"takes examples of \(1, 16, 16\), the data has \(1, 8, 8\)"):
        read(context, path=str(tmp_path / "larger"))


def test_weights_that_the_network_lacks_are_named(context: TrainingContext, tmp_path: Path) -> None:
    model, _ = made(context)
    torch.save({**weights_of(model), "extra.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"not in the model: extra\.weight"):
        read(context, model=MODEL, weights=str(tmp_path / "w.pt"))
