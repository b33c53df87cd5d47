"""Sequence-level distillation: the loss against its formula, and the labels that a teacher's cache holds for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import own_tests
from tests.contexts import with_plan
from tutelage.errors import InputError
from tutelage.losses import sequence
from tutelage.networks import capture, checkpoint
from tutelage.networks.output import Outline, Output
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.storage.local import LocalStorage
from tutelage.sweep import pair_checks
from tutelage.tasks._valid_labels import best_valid
from tutelage.training import loop, student
from tutelage.training.context import context_of
from tutelage.training.knowledge_plan import KnowledgePlan

NOT_ZERO_FOR_EQUAL_NETWORKS = "a decoded label has probability 1, which no network gives"


def test_the_loss_is_the_cross_entropy_of_the_decoded_labels_at_real_steps() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    decoded, mask = torch.tensor([[1, 0, 3], [2, 2, 9]]), torch.tensor([[True, True, True], [True, True, False]])
    loss = sequence.build(sequence.Config(), 7.0, Outline(classes=4), Outline(classes=4))
    found = loss(Output(logits=logits), Output(logits=torch.empty(0), decoded=decoded, mask=mask))
    logs = logits.log_softmax(dim=-1)
    pairs = [(i, j) for i in range(2) for j in range(3) if mask[i, j]]
    assert found.item() == pytest.approx(-sum(float(logs[i, j, decoded[i, j]]) for i, j in pairs) / 5)


TEACHER: dict[str, Any] = {"bigru": {"embedding": 8, "hidden": 8}}


def spec_of(folder: Path) -> Spec:
    return loading.from_dict({
        "name": "s", "data": {"slots": own_tests.part("data", "slots", "example")(folder)},
        "task": {"tagging": {"decode": "valid"}}, "teacher": {"model": TEACHER},
        "student": {"model": {"text_cnn": {"embedding": 6, "width": 6, "depth": 1}}, "epochs": 1, "batch_size": 32},
        "distillation": {"method": "sequence", "weight": 1.0}, "search": {"objectives": ["slot_f1", "params"]},
    })  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sentences, and an untrained teacher."""
    folder = tmp_path_factory.mktemp("sentences")
    about = context_of(spec_of(folder / "data")).architecture(TEACHER)
    checkpoint.write(folder / "teacher", checkpoint.seeded(about, 0), about)
    return folder


def test_the_cache_holds_a_byte_a_step_of_the_sequence_that_the_task_decodes(home: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher").symlink_to(home / "teacher")
    room = with_plan(context_of(spec_of(home / "data")), tmp_path, needs=frozenset({"decoded"}))
    room.fill("train", 0)
    batch, cached = room.splits["train"].take(slice(None)), room.cached_knowledge
    assert cached is not None
    stored = {part: values[torch.arange(len(batch))] for part, values in cached.view("train", 0).items()}
    with torch.inference_mode():
        live = capture.capture(room.teacher, room.built_task, batch, frozenset())
    mask, logits = live["mask.slots"], live["logits.slots"]
    layout = room.layouts("train")["decoded.slots"]
    assert layout.dtype == "uint8" and layout.num_bytes(len(batch), room.splits["train"].lengths) == mask.sum()
    expected = best_valid(logits, mask, batch.names["slots"])
    assert (expected != logits.argmax(dim=-1))[mask].any(), "the valid sequence differs from the largest logits"
    assert torch.equal(stored["decoded.slots"].long()[mask], expected[mask])
    assert torch.equal(stored["decoded.intent"].long()[:, 0], live["logits.intent"][:, 0].argmax(dim=-1))


def test_a_student_learns_the_same_from_the_cache_as_from_a_live_teacher(home: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher").symlink_to(home / "teacher")
    spec = spec_of(home / "data")
    config = spec.trial_config(spec.space.resolve(lambda name, domain: None)[0])
    cached = with_plan(context_of(spec), tmp_path, needs=frozenset({"decoded"}))
    cached.fill("train", 0)
    plan = KnowledgePlan(storage=LocalStorage(tmp_path), teachers=(("teacher", 1.0),), needs=frozenset({"decoded"}))
    weights = []
    for room in (cached, replace(context_of(spec), knowledge=plan)):
        under_way = loop.Training(student.build(config, room, 0), student.plan(config, room, 0))
        under_way.epoch()
        weights.append(under_way.model.state_dict())
    torch.testing.assert_close(*weights)
    untrained = student.build(config, cached, 0).state_dict()
    assert not torch.equal(weights[0]["stem.table.weight"], untrained["stem.table.weight"])


def test_a_task_that_decodes_no_labels_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    text = own_tests.part("data", "characters", "example")(tmp_path)
    model = {"gru": {"embedding": 4, "hidden": 4}}
    spec = loading.from_dict({
        "name": "s", "data": {"characters": text}, "task": "language_model", "teacher": {"model": model},
        "student": {"model": model, "epochs": 1}, "distillation": {"method": "sequence", "weight": 0.5},
        "search": {"objectives": ["bits_per_character", "params"]},
    })  # fmt: skip
    context = context_of(spec)
    with pytest.raises(InputError, match=r"task 'language_model' decodes none: .*is another input than the data"):
        pair_checks.check_pairs(spec, context, checkpoint.blank(context.architecture(model)))
