"""Whole sweeps with several views, several teachers, and unlabelled data, from the teacher to the selection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SMALL_SPEC
from tests.plain import Plain
from tutelage.networks import checkpoint
from tutelage.records.observer import Event, StageStarted
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.sweep import pipeline
from tutelage.training import context

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


class Heard:
    """Records the messages of a sweep."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self.said.append(event.text)


def sweep(tmp_path: Path, **changes: Any) -> tuple[Any, list[str]]:
    tree = {**SMALL_SPEC, "storage": str(tmp_path / "storage"), "search": {"trials": 3, "concurrency": 1}, **changes}
    heard = Heard()
    return pipeline.sweep(loading.from_dict(tree), observers=[heard]), heard.said


def test_selection_shows_a_student_the_views_that_its_teacher_saw(tmp_path: Path) -> None:
    """Two teachers, views filled on first use, and initial weights from the first teacher, for the baselines too."""
    more = [{"model": {"mlp": {"hidden": 32}}, "epochs": 4, "accept_weak": True}]
    home, said = sweep(
        tmp_path, augmentation={"pad_px": 1}, more_teachers=more, knowledge={"fill": "first_use", "average": "quality"},
        student={"model": {"convnet": {"width": {"int": [3, 6]}, "depth": 2}}, "epochs": 3, "initialise": "teacher"},
        sparsity={},
    )  # fmt: skip
    assert any("together the teachers have accuracy" in line for line in said) and any(
        "when students first use it" in line for line in said
    )
    room = select.context_with_teacher(home, loading.load(home.spec_path))
    assert room.augmentation.pad_px == 1 and room.knowledge is not None and len(room.knowledge.teachers) == 2
    choice = select.select(home, confirm=2)
    document = choice.document
    assert document["confirmed"]["seeds"] == 2 and 0 < document["other_measures"]["agreement"] <= 1
    assert document["transfer"] is None and "label-only" in document["distillation"]
    page = choice.report_path.read_text()
    assert "On validation: agreement with the teacher" in page


def test_unlabelled_data_are_distilled_from_a_teacher_of_other_data(tmp_path: Path) -> None:
    """The teacher is trained on labelled scans; a student is then distilled on brighter, unlabelled ones alone."""
    digits = context.context_of(loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path)}))
    train, validation, test = (Plain(digits.read(split)) for split in ("train", "validation", "test"))
    np.savez(tmp_path / "source.npz", x=train.inputs[:500].numpy(), y=train.labels[:500].numpy())
    target = {"x": train.inputs[500:].numpy() * 0.8 + 0.1, "y": np.full(len(train) - 500, -1)}
    for name, split in (("validation", validation), ("test", test)):
        target |= {f"x_{name}": split.inputs.numpy() * 0.8 + 0.1, f"y_{name}": split.labels.numpy()}
    np.savez(tmp_path / "target.npz", **target)
    data = {"path": str(tmp_path / "target.npz")} | {f"{k}_{s}": f"{k}_{s}" for k in "xy" for s in ("validation", "test")}
    home, _ = sweep(
        tmp_path, data={"arrays": data},
        teacher={
            "model": {"convnet": {"width": 8, "depth": 2}}, "epochs": 0, "learning_rate": 0.02,
            "source": {"data": {"arrays": {"path": str(tmp_path / "source.npz")}}, "epochs": 20},
        },
        student={"model": {"convnet": {"width": {"int": [4, 8]}, "depth": 2}}, "epochs": 30}, distillation={"weight": 0.9},
        sparsity={},
    )  # fmt: skip
    document = select.select(home, policy="best-quality", confirm=1).document
    assert document["test"]["value"] > 0.7 and document["test"]["label_only"] is None
    assert document["distillation"].startswith("No conclusion: no training example has a label")
    assert (
        document["transfer"].startswith("From arrays (path: ")
        and "without it there are no labels to learn from" in document["transfer"]
    )
    assert checkpoint.read(home.student_path(document["student"]["trial"]))[0] is not None
