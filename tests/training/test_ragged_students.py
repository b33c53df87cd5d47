"""Students of examples of unequal length learn the same from cached knowledge as from a live teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contexts import trained_student, with_untrained_teacher
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.sweep import knowledge
from tutelage.training.context import TrainingContext, context_of

READER, SCANS, TASK = "tests.own_task:Reader", "tests.own_task:Scans", "tests.own_task:ReadRows"


def spec_of(method: Any, **student_options: Any) -> Spec:
    return loading.from_dict({
        "name": "rows", "data": SCANS, "task": TASK, "teacher": {"model": {READER: {"width": 16}}},
        "student": {"model": {READER: {"width": 6}}, "epochs": 1, "batch_size": 32, **student_options},
        "distillation": {"method": method, "weight": 0.8}, "search": {"objectives": ["row_error_rate", "params"]},
    })  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> TrainingContext:
    """Scans of unequal length, without knowledge."""
    return context_of(spec_of("kd"))


@pytest.fixture(scope="module")
def alone(rows: TrainingContext) -> dict[str, torch.Tensor]:
    """The weights of a student that was trained without a teacher; they do not depend on the method."""
    return trained_student(spec_of("kd"), rows).state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    ["kd", "fitnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dist", "dkd", "attention", "rkd", "review"))],
)
def test_cached_and_live_knowledge_give_equal_students(
    tmp_path: Path, method: str, rows: TrainingContext, alone: dict[str, torch.Tensor]
) -> None:
    loaded = spec_of(method)
    cached = with_untrained_teacher(rows, tmp_path, {READER: {"width": 16}}, needs=knowledge.needs_of(loaded))
    assert cached.knowledge is not None
    own = trained_student(loaded, cached).state_dict()
    live = trained_student(loaded, replace(cached, knowledge=replace(cached.knowledge, cache=None))).state_dict()
    for name, weight in own.items():
        torch.testing.assert_close(live[name], weight, atol=1e-3, rtol=1e-3)
    assert any((alone[name] - weight).abs().max() > 0.01 for name, weight in own.items()), "a student learns of its teacher"
