"""Students of packed documents: cached and live teachers, export, and fine-tuning from a checkpoint."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contexts import trained_student, with_plan
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.networks.program import program_of
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.storage.local import LocalStorage
from tutelage.sweep import pair_checks
from tutelage.training import student
from tutelage.training.context import context_of
from tutelage.training.knowledge_plan import KnowledgePlan

TEACHER: dict[str, Any] = {"causal_transformer": {"embedding": 16, "width": 16, "depth": 2, "heads": 2}}
STUDENT: dict[str, Any] = {"causal_transformer": {"embedding": 8, "width": 8, "depth": 1, "heads": 2}}


def spec_of(folder: Path, **student_options: Any) -> Spec:
    data = {"path": str(folder / "lines.txt"), "length": 32, "documents": "lines", "packed": True}
    return loading.from_dict({
        "name": "packed", "data": {"characters": data}, "task": "language_model", "teacher": {"model": TEACHER},
        "student": {"model": STUDENT, "epochs": 1, "batch_size": 8, **student_options},
        "distillation": {"method": {"mixture": {"terms": {"kd": 1.0, "relations": {"heads": 3}}}}, "weight": 0.8},
        "search": {"objectives": ["bits_per_character", "params"]},
    })  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text of short lines, and an untrained teacher."""
    folder, generator = tmp_path_factory.mktemp("packed"), random.Random(0)
    lines = ("".join(generator.choice("abcdefg ") for _ in range(generator.randint(1, 20))) for _ in range(150))
    (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    about = context_of(spec_of(folder)).architecture(TEACHER)
    checkpoint.write(folder / "teacher", checkpoint.seeded(about, 0), about)
    return folder


@pytest.mark.slow
def test_a_student_of_packed_lines_learns_the_same_from_the_cache_as_from_a_live_teacher(home: Path, tmp_path: Path) -> None:
    spec, needs = spec_of(home), frozenset({"qkv"})
    (tmp_path / "teacher").symlink_to(home / "teacher")
    cached = with_plan(context_of(spec), tmp_path, needs=needs, dtype="float32")
    cached.fill("train", 0)
    plan = KnowledgePlan(storage=LocalStorage(tmp_path), teachers=(("teacher", 1.0),), needs=needs)
    found = [trained_student(spec, room).state_dict() for room in (cached, replace(context_of(spec), knowledge=plan))]
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_network_of_packed_lines_is_exported_for_rows_of_any_length(home: Path) -> None:
    room = context_of(spec_of(home))
    model = checkpoint.seeded(room.architecture(STUDENT), 0).eval()
    arguments = room.splits["train"].take(slice(5)).arguments
    program = program_of(model, room.signature).module()
    torch.testing.assert_close(program(*arguments), model(*arguments))


def test_a_language_model_is_fine_tuned_from_a_checkpoint(home: Path) -> None:
    """With no learning the student is the checkpoint; the teacher's own weights would be others."""
    about = context_of(spec_of(home)).architecture(STUDENT)
    checkpoint.write(home / "start", checkpoint.seeded(about, 5), about)
    spec = spec_of(home, weights=str(home / "start"))
    room = context_of(spec)
    config = spec.trial_config(spec.space.resolve(lambda name, domain: None)[0])
    expected = checkpoint.seeded(about, 5).state_dict()
    torch.testing.assert_close(student.build(config, room, 0).state_dict(), expected)


def test_a_checkpoint_of_another_vocabulary_is_refused_before_anything_is_trained(home: Path, tmp_path: Path) -> None:
    """Its rows of embeddings would be those of other characters; the characters of the text decide their numbers."""
    (tmp_path / "lines.txt").write_text("hijklmn op\nq\n" * 40, encoding="utf-8")
    other = context_of(spec_of(tmp_path)).architecture(STUDENT)
    checkpoint.write(tmp_path / "start", checkpoint.seeded(other, 5), other)
    room = context_of(spec_of(home, weights=str(tmp_path / "start")))
    teacher = checkpoint.blank(room.architecture(TEACHER))
    with pytest.raises(InputError, match=r"of 12 and 9 tokens, number 2 is 'h' there and 'a' in these data"):
        pair_checks.check_pairs(spec_of(home, weights=str(tmp_path / "start")), room, teacher)
    same = spec_of(home, weights=str(home / "start"))
    about = context_of(same).architecture(STUDENT)
    checkpoint.write(home / "start", checkpoint.seeded(about, 5), about)
    pair_checks.check_pairs(same, context_of(same), teacher)


def test_a_narrower_checkpoint_is_refused_before_anything_is_trained(home: Path) -> None:
    spec = spec_of(home, weights=str(home / "narrow"))
    room = context_of(spec)
    about = room.architecture({"causal_transformer": {**STUDENT["causal_transformer"], "width": 4}})
    checkpoint.write(home / "narrow", checkpoint.seeded(about, 5), about)
    with pytest.raises(InputError, match=r"has the shape .* there and .* Choose a student that is no larger"):
        pair_checks.check_pairs(spec, room, checkpoint.blank(room.architecture(TEACHER)))
