"""The required quality of a teacher, and the split on which it is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contexts import with_teacher
from tests.data import test_slots
from tests.stored_sweep import learnt
from tutelage.data import intents
from tutelage.errors import InputError, WorkFailed
from tutelage.networks import checkpoint
from tutelage.spec.sections import SourceConfig
from tutelage.sweep import teacher_store, teachers
from tutelage.training.context import TrainingContext


def teacher(accuracy: float) -> teacher_store.Teacher:
    return teacher_store.Teacher(directory=Path(), address="t", measures={"accuracy": accuracy})


def check(tmp_path: Path, context: TrainingContext, accuracy: float, **given: Any) -> None:
    teachers._check_strength(with_teacher(tmp_path, teacher={"accept_weak": False, **given}), context, teacher(accuracy))


def test_a_teacher_must_reach_the_required_quality(tmp_path: Path, context: TrainingContext) -> None:
    check(tmp_path, context, 0.5, required_quality=0.5)
    with pytest.raises(WorkFailed, match=r"accuracy on validation is 0\.4900, and teacher\.required_quality is 0\.5000"):
        check(tmp_path, context, 0.49, required_quality=0.5)
    check(tmp_path, context, 0.49, required_quality=0.5, accept_weak=True)


def test_a_teacher_must_be_better_than_a_linear_classifier(tmp_path: Path, context: TrainingContext) -> None:
    linear = context.built_task.baseline(context.splits["train"], context.splits["validation"])
    assert linear > 0.8
    check(tmp_path, context, linear)
    with pytest.raises(WorkFailed, match="a simple model reaches"):
        check(tmp_path, context, linear - 0.01)


def test_a_measure_where_lower_is_better_has_an_upper_bound(
    tmp_path: Path, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = replace(context.built_task.measures[0], direction="minimise")
    monkeypatch.setattr(context.built_task, "measures", (error,), raising=False)
    check(tmp_path, context, 0.2, required_quality=0.25)
    with pytest.raises(WorkFailed):
        check(tmp_path, context, 0.3, required_quality=0.25)


def sentences_of(folder: Path, city: str) -> dict[str, Any]:
    test_slots.write(
        folder / "train", *((f"fly to {city} n{row % 9}", "O O B-city O", f"{'ab'[row % 2]}") for row in range(60))
    )
    return {"intents": {"path": str(folder), "least_count": 1, "validation_share": 0.2, "test_share": 0.2}}


def test_a_source_of_texts_is_read_with_the_vocabulary_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own vocabulary the same number would be another word, for which the fine-tuned teacher has learned nothing."""
    data, other = sentences_of(tmp_path / "data", "rome"), sentences_of(tmp_path / "source", "aachen")
    context = TrainingContext(data=data, task="text_classification", seed=0)
    source = SourceConfig(data=other, epochs=1)
    found = teachers.source_context(context, source)
    words, row = context.signature.inputs[0].names, found.splits["train"].take(slice(1)).arguments[0][0]
    assert found.signature.inputs[0].names == words and "aachen" not in words
    assert [words[int(token)] for token in row[:3]] == ["fly", "to", "<unknown>"]
    monkeypatch.delattr(intents, "read_as")
    with pytest.raises(InputError, match=r"teacher.source: a teacher of its texts was trained with another vocabulary"):
        teachers.source_context(context, source)


def test_a_teacher_is_measured_on_validation(context: TrainingContext) -> None:
    model, _ = learnt(context, {"mlp": {"hidden": 64}}, steps=100)
    batch = context.splits["validation"].take(slice(None))
    right = (model(*batch.arguments).argmax(1) == batch.targets["class"]).double().mean().item()
    found = teachers._measures(model, context)
    assert found["accuracy"] == pytest.approx(right) and found["accuracy"] < 1.0
    assert found.keys() >= {"params", "size_bytes", "macs"}


def test_training_on_a_source_has_its_own_epochs_and_learning_rate(
    tmp_path: Path, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def train(spec: Any, context: Any, recipe: Any, address: str, source: Any, say: Any) -> teacher_store.Teacher:
        given.append((recipe, context.data, source))
        return teacher(0.9)

    monkeypatch.setattr(teachers, "_train", train)
    data = {"digits": {"labelled_per_class": 5}}
    for rate in ({}, {"learning_rate": 0.3}):
        asked = with_teacher(
            tmp_path, teacher={"epochs": 4, "learning_rate": 0.1, "source": {"data": data, "epochs": 2, **rate}}
        )
        teachers._source_teacher(asked, context, lambda _: None)
    assert [(recipe.epochs, recipe.learning_rate, recipe.source) for recipe, _, _ in given] == [(2, 0.1, None), (2, 0.3, None)]
    assert all(used == data and source is None for _, used, source in given)


def test_a_stored_teacher_is_measured_again_if_it_lacks_a_measure(context: TrainingContext, tmp_path: Path) -> None:
    model, architecture = learnt(context, {"mlp": {"hidden": 8}}, steps=5)
    checkpoint.write(tmp_path, model, architecture)
    kept = replace(teacher(0.123), directory=tmp_path)
    assert teachers._completed(kept, context).measures == {"accuracy": 0.123}
    error = replace(context.built_task.measures[0], name="error", of_outputs=lambda sequences, batch: [[0.5]] * len(batch))
    again = teachers._completed(kept, replace(context, measures=(error,)))
    assert again.measures["error"] == 0.5 and again.measures["accuracy"] != 0.123
