"""An ONNX file is a teacher as it is: a former student's file gives the next one its outputs, by name and normalisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from tests import onnx_networks
from tests.contexts import with_plan
from tests.data import test_intents, test_line_images
from tests.plain import plain_signature
from tutelage.errors import InputError, SpecError
from tutelage.networks import checkpoint, runtime
from tutelage.networks.onnx_format import Session
from tutelage.signature import Signature
from tutelage.spec import loading
from tutelage.spec.sections import TeacherConfig
from tutelage.spec.spec import Spec
from tutelage.sweep import dry_run, external_teacher, identity, knowledge, teachers
from tutelage.sweep.teacher_store import Teacher
from tutelage.training import loop, student
from tutelage.training.context import TrainingContext, context_of

pytestmark = pytest.mark.slow

DIGITS = tuple("9876543210")  # in another order than the data's
GRU: dict[str, Any] = {"bigru": {"embedding": 4, "hidden": 4}}


def exported(path: Path, model: Any, signature: Signature) -> Path:
    """Write an untrained network as `tutelage export` writes one."""
    architecture = {"version": 2, "model": model, "signature": signature.document()}
    runtime.write_onnx(path, checkpoint.seeded(architecture, 3).eval(), signature, runtime.described(architecture))
    return path


def spec_of(tmp_path: Path, model: Any, **changes: Any) -> Spec:
    return loading.from_dict({
        "name": "next", "data": "digits", "storage": str(tmp_path / "storage"),
        "teacher": {"model": model, "epochs": 0 if "onnx" in model else 1, "accept_weak": True},
        "student": {"model": {"mlp": {"hidden": 8}}, "epochs": 1}, "search": {"trials": 1}, **changes,
    })  # fmt: skip


def sentences(tmp_path: Path, model: Any) -> Spec:
    options = test_intents.example(tmp_path / "data")
    return spec_of(tmp_path, model, data={"intents": options}, task="text_classification", student={"model": GRU, "epochs": 1})


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A former student's file, for images that were normalised otherwise and classes in another order."""
    named = plain_signature(names=DIGITS)
    signature = replace(named, inputs=(replace(named.inputs[0], mean=(4.0,), std=(5.0,)),))
    return exported(tmp_path_factory.mktemp("champion") / "model.onnx", {"convnet": {"width": 4}}, signature)


def taught(context: TrainingContext, teacher: Teacher, home: Path, **plan: Any) -> TrainingContext:
    """Return the context with a teacher that lies in a storage."""
    home.mkdir()
    (home / "teacher").symlink_to(teacher.directory)
    return with_plan(context, home, dtype="float32", **plan)


def cached(context: TrainingContext, rows: Tensor) -> dict[str, Tensor]:
    """Return parts of the teacher's knowledge of training examples, computed and read again."""
    context.fill("train", 0)
    assert context.cached_knowledge is not None
    return {part: stored[rows].float() for part, stored in context.cached_knowledge.view("train", 0).items()}


@pytest.mark.slow
def test_cached_knowledge_of_a_former_student_is_what_onnxruntime_computes(champion: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {"onnx": {"path": str(champion)}})
    context, said = context_of(spec), list[str]()
    (teacher,) = teachers.ensure_teachers(spec, context, said.append)
    assert not any("training" in one for one in said) and teacher.measures["params"] > 0 and teacher.measures["macs"] > 0
    (again,) = teachers.ensure_teachers(spec, context, said.append)
    assert again.address == teacher.address and "is in the storage already" in said[-1]
    rows, train = torch.tensor([700, 3, 41]), context.splits["train"]
    found = cached(taught(context, teacher, tmp_path / "home"), rows)["logits.class"][:, 0]
    expected = Session(champion).run((train.take(rows).inputs["inputs"] - 4.0) / 5.0)  # the data's own are not normalised
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(found, expected.flip(1), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_student_learns_from_a_recogniser_of_lines_and_its_features(tmp_path: Path) -> None:
    """The lines are two kinds of characters, which the file names among others; features are compared at another stride."""
    path = onnx_networks.recogniser(tmp_path / "reader.onnx", "xaby")
    spec = spec_of(
        tmp_path, {"onnx": {"path": str(path), "features": ["features"], "stride": 2}}, task="ocr",
        data={"line_images": test_line_images.example(tmp_path / "lines")},
        student={"model": {"crnn": {"width": 4, "depth": 2, "hidden": 6, "stride": 2}}, "epochs": 1},
        distillation={"method": {"mixture": {"terms": {"ctc_blank": 1.0, "fitnet": 1.0}}}, "weight": 0.9},
    )  # fmt: skip
    context = context_of(spec)
    (teacher,) = teachers.ensure_teachers(spec, context, lambda _: None)
    prepared = taught(context, teacher, tmp_path / "home", needs=knowledge.needs_of(spec))
    rows = torch.tensor([0])
    batch = context.splits["train"].take(rows)
    live = prepared.teacher(*batch.arguments)["characters"]
    torch.testing.assert_close(cached(prepared, rows)["logits.characters"][:, : live.shape[1]], live)
    config = spec.trial_config(spec.space.resolve(lambda name, domain: None)[0])
    training = loop.Training(student.build(config, prepared, 0), student.plan(config, prepared, 0))
    assert training.epoch()["train_loss"] > 0


def test_the_bytes_of_the_file_are_part_of_the_teachers_address(champion: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(champion.read_bytes())
    spec = spec_of(tmp_path, {"onnx": {"path": str(path)}})
    before = identity.teacher_address(spec, spec.teacher, "data")
    assert before == identity.teacher_address(spec, spec.teacher, "data")
    onnx_networks.images(path)
    assert identity.teacher_address(spec, spec.teacher, "data") != before
    about, _ = dry_run._teacher_plan(spec, context_of(spec))
    assert about == {"source": "trained already", "train_s": 0.0}


def test_a_network_without_gradients_is_no_student_and_is_not_trained(champion: Path, tmp_path: Path) -> None:
    model = {"onnx": {"path": str(champion)}}
    for teacher in (
        {"model": model},
        {"model": model, "epochs": 3},
        {"model": model, "epochs": 0, "source": {"data": "digits"}},
    ):
        with pytest.raises(
            SpecError, match=r"never trained, so this teacher is taken as it is. Set epochs: 0, and no `source`"
        ):
            spec_of(tmp_path, model, teacher=teacher)
    with pytest.raises(SpecError, match=r"so it is a teacher only. Choose another model"):
        spec_of(tmp_path, model, student={"model": {"choice": {"mlp": {"hidden": 8}, **model}}})


def test_a_file_at_teacher_path_is_an_error_that_names_the_way(champion: Path) -> None:
    with pytest.raises(InputError, match=r"Give an ONNX file as the teacher's model: \{onnx: \{path: .*\}\}, with epochs: 0"):
        external_teacher.read_teacher(TeacherConfig(path=str(champion)), {}, None, "")  # type: ignore[arg-type]


def test_inputs_and_classes_of_an_exported_network_must_be_the_datas(champion: Path, tmp_path: Path) -> None:
    model = {"onnx": {"path": str(champion)}}
    for signature, why in (
        (plain_signature((1, 9, 8)), r"takes inputs \(image \(1, 8, 8\)\), and the data have inputs \(image \(1, 9, 8\)\)"),
        (plain_signature(names=("0", "1", "ten")), "lacks the classes 'ten' of 'class'"),
    ):
        with pytest.raises(InputError, match=why):
            checkpoint.build({"model": model, "signature": signature.document()})
    other = plain_signature()
    named = replace(other, outputs=(replace(other.outputs[0], name="digit"),))
    with pytest.raises(InputError, match="the network has class, and the task needs digit"):
        checkpoint.build({"model": model, "signature": named.document()})


class InOwnOrder(nn.Module):
    """A network whose code returns its label sequences in another order than the signature has them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = self.linear(images.flatten(1))
        return {"second": -found, "first": found}


def test_outputs_of_an_exported_network_are_found_by_name(tmp_path: Path) -> None:
    own = plain_signature(names=("a", "b", "c"))
    signature = replace(own, outputs=tuple(replace(own.outputs[0], name=name) for name in ("first", "second")))
    model, images = InOwnOrder().eval(), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "model.onnx"
    runtime.write_onnx(path, model, signature, runtime.described({"signature": signature.document()}))
    about = {"model": {"onnx": {"path": str(path)}}, "signature": signature.document()}
    torch.testing.assert_close(dict(checkpoint.build(about)(images)), model(images))
    held = onnx.load(path)
    held.graph.node[-1].output[0] = held.graph.output[-1].name = "third"
    onnx.save(held, path)
    with pytest.raises(InputError, match=r"and its signature names first, second. Export it again"):
        checkpoint.build(about)


@pytest.mark.slow
def test_an_exported_network_of_texts_teaches_data_of_its_vocabulary_only(tmp_path: Path) -> None:
    """A word is a number: read with other options, the data give the same number to another word."""
    first = context_of(sentences(tmp_path, GRU))
    path = exported(tmp_path / "texts.onnx", {"text_cnn": {"embedding": 4, "width": 4, "depth": 1}}, first.signature)
    model = {"onnx": {"path": str(path)}}
    read = checkpoint.build(first.architecture(model)).eval()
    tokens, mask = first.splits["train"].take(slice(5)).arguments
    expected = Session(path).run(tokens, mask)
    torch.testing.assert_close(read(tokens, mask)["class"], expected)
    about = {"model": model, "signature": turned(first.signature).document()}
    with pytest.raises(InputError, match=r"was trained with another vocabulary: of \d+ and \d+ tokens, number 1 is '.*' there"):
        checkpoint.build(about)


def turned(signature: Signature) -> Signature:
    """Return the signature with the words of its vocabulary in reverse order, behind the unknown one."""
    (tokens,) = signature.inputs
    return replace(signature, inputs=(replace(tokens, names=(tokens.names[0], *reversed(tokens.names[1:]))),))


def test_a_trained_folder_of_another_vocabulary_is_no_teacher(tmp_path: Path) -> None:
    """It has the same sizes where both vocabularies have as many words, and would be taught nonsense."""
    spec = sentences(tmp_path, GRU)
    context = context_of(spec)
    about = context.architecture(GRU)
    for signature in (context.signature, turned(context.signature)):
        checkpoint.write(tmp_path / "net", checkpoint.seeded(about, 0), {**about, "signature": signature.document()})
        teacher = TeacherConfig(path=str(tmp_path / "net"))
        if signature == context.signature:
            external_teacher.read_teacher(teacher, about, context.splits["train"], "")
            continue
        with pytest.raises(InputError, match=r"another vocabulary.*Read the data with the options that the teacher's data had"):
            external_teacher.read_teacher(teacher, about, context.splits["train"], "")
