"""Contexts, specs and trainings that tests of distillation share: digits, and a teacher of initial weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tests.conftest import SMALL_SPEC
from tutelage.networks import checkpoint
from tutelage.plugins import Reference
from tutelage.spec import loading, spec
from tutelage.storage.local import LocalStorage
from tutelage.sweep import teacher_store
from tutelage.training import loop, student
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


def with_untrained_teacher(context: TrainingContext, home: Path, model: Reference, **fields: Any) -> TrainingContext:
    """Return the context with the knowledge of a teacher of initial weights, which is written into `home`; in float32."""
    about = context.architecture(model)
    checkpoint.write(home / "teacher", checkpoint.seeded(about, 0), about)
    return with_plan(context, home, dtype="float32", **fields)


def trained_student(loaded: spec.Spec, context: TrainingContext) -> nn.Module:
    """Return the first student of a spec, trained in this process."""
    config = loaded.trial_config(loaded.space.resolve(lambda name, domain: None)[0])
    under_way = loop.Training(student.build(config, context, 0), student.plan(config, context, 0))
    while not under_way.is_done:
        assert under_way.epoch()[context.built_task.measures[0].name] >= 0
    return under_way.model


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
