"""Contexts and specs that tests of teaching share: digits, and a teacher that nobody trained."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.conftest import SMALL_SPEC
from tutelage.spec import loading, spec
from tutelage.storage.local import LocalStorage
from tutelage.sweep import teacher_store
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan


def small_config(**distillation: Any) -> dict[str, Any]:
    loaded = loading.from_dict({
        **SMALL_SPEC,
        "student": {"model": {"convnet": {"width": 4}}, "epochs": 4},
        "distillation": {"weight": 0.0, **distillation},
        "sparsity": {"amount": 0.5},
    })  # fmt: skip
    return loaded.space.resolve(lambda name, domain: None)[0]


def with_plan(context: TrainingContext, home: Path, **fields: Any) -> TrainingContext:
    """Return the context taught by what lies in `home / "teacher"`, its entry described."""
    room = replace(
        context, knowledge=KnowledgePlan(storage=LocalStorage(home), teachers=(("teacher", 1.0),), cache="a", **fields)
    )
    assert room.knowledge is not None and room.knowledge.entry is not None
    room.knowledge.entry.describe(room.teacher_outline)
    return room


def teacher_of(room: TrainingContext, storage: str | Path | None = None) -> teacher_store.Teacher:
    """Return the context's teacher; with a `storage`, it lies there too, under its address."""
    assert room.knowledge is not None
    (directory,) = room.knowledge.teacher_paths()
    if storage is not None:
        place = Path(storage) / teacher_store.key_of("t")
        shutil.copytree(directory, place, dirs_exist_ok=True)
    return teacher_store.Teacher(directory=directory, address="t", measures={"accuracy": 0.5})


def with_teacher(tmp_path: Path, **changes: Any) -> spec.Spec:
    teacher = {"model": {"mlp": {"hidden": 16}}, "epochs": 4, "learning_rate": 0.01, **changes.pop("teacher", {})}
    return loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path / "storage"), "teacher": teacher, **changes})
