"""Knowledge of a language model at length: bytes a step, no padding, and the stated bound of sparse targets."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contexts import with_plan
from tutelage.losses.kd import SoftTargets
from tutelage.networks import capture, checkpoint
from tutelage.networks.output import Output
from tutelage.training.context import TrainingContext

CLASSES, LENGTH = 400, 16


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 400 different characters, and an untrained network for it."""
    folder, generator = tmp_path_factory.mktemp("language"), random.Random(0)
    alphabet = [chr(0x4E00 + number) for number in range(CLASSES)]
    (folder / "text.txt").write_text("".join(alphabet + [generator.choice(alphabet) for _ in range(900)]), encoding="utf-8")
    about = context_of(folder).architecture({"causal_transformer": {"width": 16, "embedding": 16, "depth": 1, "heads": 2}})
    checkpoint.write(folder / "teacher", checkpoint.seeded(about, 0), about)
    return folder


def context_of(folder: Path) -> TrainingContext:
    data = {"characters": {"path": str(folder / "text.txt"), "length": LENGTH, "unknown": "count"}}
    return TrainingContext(data=data, task="language_model", seed=0)


def knowledge(home: Path, tmp_path: Path, **sparse: Any) -> tuple[TrainingContext, Mapping[str, torch.Tensor], Output]:
    """Return the context, the live parts of all training windows, and the cached output for them."""
    (tmp_path / "teacher").symlink_to(home / "teacher")
    room = with_plan(context_of(home), tmp_path, **sparse)
    room.fill("train", 0)
    batch, cached = room.splits["train"].take(slice(None)), room.cached_knowledge
    assert cached is not None
    with torch.inference_mode():
        live = capture.capture(room.teacher, room.built_task, batch, frozenset())
    stored = {part: values[torch.arange(len(batch))] for part, values in cached.view("train", 0).items()}
    return room, live, capture.outputs_from({**stored, **capture.masks_of(live)}, {}, ["token"])["token"]


@pytest.mark.parametrize("sparse", [{"top_k": 16}, {"top_k": 20, "temperature": 1.0}, {"samples": 12}], ids=str)
def test_sparse_targets_take_a_tenth_of_the_dense_bytes_and_no_padding(
    home: Path, tmp_path: Path, sparse: dict[str, Any]
) -> None:
    room, _, _ = knowledge(home, tmp_path, **sparse)
    train, plan = room.splits["train"], room.knowledge
    assert plan is not None and plan.entry is not None and train.lengths is not None
    steps, place = int(train.lengths.sum()), plan.entry.place("train", 0)
    stored = sum(layout.num_bytes(len(train), train.lengths) for layout in room.layouts("train").values())
    assert train.lengths.min() < LENGTH, "the last window is shorter"
    assert stored % steps == 0 and stored <= 0.1 * steps * 2 * (CLASSES + 1)
    assert sum(path.stat().st_size for path in place.glob("*.npy")) <= 1.05 * stored + 1024


@pytest.mark.parametrize("kept_for", [None, 2.0], ids=["any temperature", "one temperature"])
def test_the_loss_of_the_largest_classes_is_below_the_dense_one_by_the_divergence_within_the_others(
    home: Path, tmp_path: Path, kept_for: float | None
) -> None:
    """At each step the difference is the others' mass times the divergence of the others, and float16 adds its rounding."""
    _, live, teacher = knowledge(home, tmp_path, top_k=16, temperature=kept_for)
    mask, dense = live["mask.token"], live["logits.token"]
    student = torch.randn(dense.shape, generator=torch.Generator().manual_seed(0))
    sparse_loss = SoftTargets(2.0)(Output(logits=student), teacher)
    dense_loss = SoftTargets(2.0)(Output(logits=student), Output(logits=dense, mask=mask))
    logs, own = ((one[mask] / 2.0).log_softmax(dim=-1) for one in (dense, student))
    others = torch.ones_like(logs, dtype=torch.bool).scatter(-1, dense[mask].topk(16).indices, False)
    mass = (logs.exp() * others).sum(dim=-1)
    within, of_student = (one.masked_fill(~others, float("-inf")).log_softmax(dim=-1) for one in (logs, own))
    divergence = (within.exp() * (within - of_student).masked_fill(~others, 0.0)).sum(dim=-1)
    torch.testing.assert_close(dense_loss - sparse_loss, 4.0 * (mass * divergence).mean(), atol=1e-3, rtol=1e-3)


def test_drawn_targets_are_those_of_the_teachers_distribution(home: Path, tmp_path: Path) -> None:
    _, live, teacher = knowledge(home, tmp_path, samples=64)
    mask, dense = live["mask.token"], live["logits.token"]
    student = torch.randn(dense.shape, generator=torch.Generator().manual_seed(0))
    target = dense[mask].softmax(dim=-1)
    expected = -(target * student[mask].log_softmax(dim=-1)).sum(dim=-1).mean()
    assert SoftTargets(1.0)(Output(logits=student), teacher).item() == pytest.approx(expected.item(), rel=0.01)
