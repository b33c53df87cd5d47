"""Contrastive representation distillation against its formula, and its memory."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from tutelage.losses import Answer, Outline, Stage, crd

OWN = Outline(classes=5, stages=(Stage(name="stage1", grid=(2, 2), channels=6),))
OTHER = Outline(classes=5, stages=(Stage(name="stage9", grid=(), channels=7),))


def build(**options: Any) -> Any:
    torch.manual_seed(0)
    return crd.build(crd.Config(features=4, **options), 1.0, OWN, OTHER).double()


def answers(count: int, seed: int = 0, labels: list[int] | None = None) -> tuple[Answer, Answer]:
    generator = torch.Generator().manual_seed(seed)
    own, other = (torch.randn(count, c, generator=generator, dtype=torch.double) for c in (6, 7))
    known = None if labels is None else torch.tensor(labels).unsqueeze(1)
    logits = torch.zeros(count, 1, 5)
    return Answer(logits=logits, pooled={"stage1": own}), Answer(logits=logits, pooled={"stage9": other}, labels=known)


def by_hand(loss: Any, student: Answer, teacher: Answer, usable: torch.Tensor) -> float:
    """Return the formula over a batch alone, pair by pair."""
    g_s = functional.normalize(loss.of_student(student.pooled["stage1"]))
    g_t = functional.normalize(loss.of_teacher(teacher.pooled["stage9"]))
    total = 0.0
    for anchors, partners in ((g_s, g_t), (g_t, g_s)):
        scores = anchors @ partners.T / loss.temperature
        chance = math.log(scores[usable].exp().mean())
        for i in range(len(scores)):
            total -= math.log(torch.sigmoid(scores[i, i] - chance))
            wrong = [-math.log(1 - torch.sigmoid(scores[i, j] - chance)) for j in range(len(scores)) if usable[i, j]]
            total += sum(wrong) / max(1, len(wrong))
    return total / (2 * len(g_s)) / (2 * math.log(2))


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 2, -1, -1]])
def test_it_is_its_formula_without_pairs_of_one_class(labels: list[int] | None) -> None:
    loss, (student, teacher) = build().eval(), answers(6, labels=labels)
    usable = ~torch.eye(6, dtype=torch.bool)
    if labels is not None:
        usable[0, 2] = usable[2, 0] = False
    with torch.no_grad():
        assert loss(student, teacher).item() == pytest.approx(by_hand(loss, student, teacher, usable), rel=1e-9)


def test_embeddings_that_say_nothing_cost_one_bit_and_telling_ones_less() -> None:
    loss, (student, teacher) = build(nce_temperature=0.1).eval(), answers(200)
    same = torch.ones(200, 6, dtype=torch.double)
    dumb = Answer(logits=student.logits, pooled={"stage1": same})
    all_alike = Answer(logits=teacher.logits, pooled={"stage9": torch.ones(200, 7, dtype=torch.double)})
    assert loss(dumb, all_alike).item() == pytest.approx(1.0)
    optimizer = torch.optim.Adam([*loss.parameters(), student.pooled["stage1"].requires_grad_()], lr=0.05)
    for _ in range(150):
        value = loss(student, teacher)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value < 0.5


def test_the_last_embeddings_are_remembered_first_in_first_out_and_resumed() -> None:
    loss = build(negatives=5)
    seen = []
    for seed in range(3):
        student, teacher = answers(3, seed, labels=[seed] * 3)
        loss(student, teacher)
        seen.append(functional.normalize(loss.of_teacher(teacher.pooled["stage9"])).detach())
    assert sorted(loss.classes.tolist()) == [1, 1, 2, 2, 2]
    newest = torch.cat(seen)[-5:]
    assert all(any(torch.allclose(row, kept) for kept in loss.teachers) for row in newest)
    again = build(negatives=5)
    again.load_state_dict(loss.state_dict())
    student, teacher = answers(3, 7)
    assert torch.equal(loss(student, teacher), again(student, teacher))
    before = loss.teachers.clone()
    loss.eval()(student, teacher)
    assert torch.equal(loss.teachers, before), "only training is remembered"


def test_remembered_examples_are_negatives_from_the_next_batch_on() -> None:
    loss, (student, teacher) = build(negatives=50), answers(4)
    with torch.no_grad():
        alone = loss(student, teacher)
        beside = loss(*answers(4, 1))
        fresh = build(negatives=50)(*answers(4, 1))
    assert not torch.isclose(beside, fresh) and alone.isfinite()
