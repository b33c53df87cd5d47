"""A classifier of a Hugging Face directory is a teacher as it is: nothing is trained, and its bytes are part of its address."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests import hf_directories
from tests.data import test_intents
from tests.requirements import needs
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.sweep import dry_run, identity, student_checks, teachers
from tutelage.training import inference
from tutelage.training.context import context_of

pytestmark = [needs(importlib.util.find_spec("transformers"), "package transformers"), pytest.mark.slow]
LABELS = {0: "GetWeather", 1: "Other", 2: "BookFlight"}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A spec whose teacher is a classifier of intents at a relative path."""
    hf_directories.write(
        tmp_path / "net", "BertForSequenceClassification", id2label=LABELS, label2id={name: key for key, name in LABELS.items()}
    )
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = test_intents.example(tmp_path / "data")
    return loading.from_dict({
        "name": "own", "data": {"intents": options}, "task": "text_classification", "storage": str(tmp_path / "storage"),
        "teacher": {"model": {"huggingface": {"path": "net", "head": "own"}}, "epochs": 0, "accept_weak": True},
        "student": {"model": {"bigru": {"embedding": 4, "hidden": 4}}, "epochs": 1}, "search": {"trials": 1},
    })  # fmt: skip


def test_a_classifier_is_a_teacher_without_training(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(spec)
    said: list[str] = []
    (teacher,) = teachers.ensure_teachers(spec, context, said.append)
    assert not any("training" in one for one in said)
    (again,) = teachers.ensure_teachers(spec, context, said.append)
    assert again.address == teacher.address and "is in the storage already" in said[-1]
    monkeypatch.chdir("/")
    model, architecture = checkpoint.read(teacher.directory)
    assert architecture["model"] == {"huggingface": {"path": str(tmp_path / "net"), "head": "own"}}
    found = inference.measured(model, context.built_task, context.splits["validation"])
    assert teacher.measures["accuracy"] == found["accuracy"]
    assert context.signature.class_names == ("BookFlight", "GetWeather")


def test_a_plan_says_that_it_is_trained_already(spec: Spec) -> None:
    about, _ = dry_run._teacher_plan(spec, context_of(spec))
    assert about == {"source": "trained already", "train_s": 0.0}


def test_other_bytes_in_the_directory_are_another_teacher(spec: Spec, tmp_path: Path) -> None:
    before = identity.teacher_address(spec, spec.teacher, "data")
    assert before == identity.teacher_address(spec, spec.teacher, "data")
    config = tmp_path / "net" / "config.json"
    config.write_text(config.read_text().replace('"hidden_dropout_prob": 0.1', '"hidden_dropout_prob": 0.2'))
    assert identity.teacher_address(spec, spec.teacher, "data") != before


def test_a_model_that_is_not_trained_needs_epochs(spec: Spec) -> None:
    tree = {**spec.kept(), "teacher": {"model": {"huggingface": {"path": "net"}}, "epochs": 0}}
    with pytest.raises(InputError, match="needs at least 1 epoch, unless its model is trained already"):
        loading.from_dict(tree)


def test_a_student_that_could_not_be_exported_is_an_error_before_anything_is_trained(spec: Spec) -> None:
    """With words by their characters, it would split unknown ones by its tokenizer; as a teacher it may."""
    (options,) = spec.data.values()  # type: ignore[union-attr]
    asked = {**spec.model_dump(), "data": {"intents": {**options, "characters": 6}}}
    model = {"huggingface": {"path": "net"}}
    refused, accepted = (
        loading.from_dict({**asked, "student": {**asked["student"], "model": one}})
        for one in (model, asked["student"]["model"])
    )
    with pytest.raises(InputError, match="As a student, read the data without 'characters'"):
        student_checks.check_students(refused, context_of(refused))
    student_checks.check_students(accepted, context_of(accepted))
