"""Contrastive representation distillation: the loss against its formula, and the stored embeddings."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from tutelage.losses import crd
from tutelage.networks.output import Outline, Output, Stage

LEAST_FALL = 2  # pairs of two examples are never told apart wholly
NO_NUMERICAL_SLOPE = "it takes the normaliser of its scores as a constant"
OWN = Outline(classes=5, stages=(Stage(name="stage1", grid=(2, 2), channels=6),))
OTHER = Outline(classes=5, stages=(Stage(name="stage9", grid=(), channels=7),))


def build(**options: Any) -> Any:
    torch.manual_seed(0)
    return crd.build(crd.Config(features=4, **options), 1.0, OWN, OTHER).double()


def answers(count: int, seed: int = 0, labels: list[int] | None = None) -> tuple[Output, Output]:
    generator = torch.Generator().manual_seed(seed)
    own, other = (torch.randn(count, c, generator=generator, dtype=torch.double) for c in (6, 7))
    known = None if labels is None else torch.tensor(labels).unsqueeze(1)
    logits = torch.zeros(count, 1, 5)
    return Output(logits=logits, pooled={"stage1": own}), Output(logits=logits, pooled={"stage9": other}, labels=known)


def embedded(loss: Any, student: Output, teacher: Output) -> tuple[torch.Tensor, torch.Tensor]:
    g_s = functional.normalize(loss.of_student(student.pooled["stage1"]))
    return g_s, functional.normalize(loss.of_teacher(teacher.pooled["stage9"]))


def by_hand(loss: Any, student: Output, teacher: Output, usable: torch.Tensor, earlier: Any = None) -> float:
    """Return the formula, pair by pair, over the batch and over `earlier` examples, (student, teacher)."""
    own, known = embedded(loss, student, teacher), embedded(loss, *earlier) if earlier else None
    total = 0.0
    for anchors, partners, way in ((own[0], own[1], 1), (own[1], own[0], 0)):
        candidates = torch.cat([partners, known[way]]) if known else partners
        scores = anchors @ candidates.T / loss.temperature
        chance = math.log(scores[usable].exp().mean())
        for i in range(len(scores)):
            total -= math.log(torch.sigmoid(scores[i, i] - chance))
            wrong = [-math.log(1 - torch.sigmoid(scores[i, j] - chance)) for j in range(scores.shape[1]) if usable[i, j]]
            total += sum(wrong) / max(1, len(wrong))
    return total / (2 * len(own[0])) / (2 * math.log(2))


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 2, -1, -1]])
def test_the_loss_is_its_formula_without_pairs_of_one_class(labels: list[int] | None) -> None:
    loss, (student, teacher) = build().eval(), answers(6, labels=labels)
    usable = ~torch.eye(6, dtype=torch.bool)
    if labels is not None:
        usable[0, 2] = usable[2, 0] = False
    with torch.no_grad():
        assert loss(student, teacher).item() == pytest.approx(by_hand(loss, student, teacher, usable), rel=1e-9)


@pytest.mark.slow
def test_uninformative_embeddings_cost_one_bit_and_informative_ones_less() -> None:
    loss, (student, teacher) = build(nce_temperature=0.1).eval(), answers(200)
    same = torch.ones(200, 6, dtype=torch.double)
    dumb = Output(logits=student.logits, pooled={"stage1": same})
    all_alike = Output(logits=teacher.logits, pooled={"stage9": torch.ones(200, 7, dtype=torch.double)})
    assert loss(dumb, all_alike).item() == pytest.approx(1.0)
    optimizer = torch.optim.Adam([*loss.parameters(), student.pooled["stage1"].requires_grad_()], lr=0.05)
    for _ in range(150):
        value = loss(student, teacher)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value < 0.5


def test_embeddings_are_stored_first_in_first_out_and_resumed() -> None:
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


def test_stored_examples_of_other_classes_are_negatives_from_the_next_batch_on() -> None:
    loss, earlier, now = build(negatives=50), answers(4, labels=[0, 1, 2, -1]), answers(3, 1, labels=[1, 3, -1])
    usable = torch.cat([~torch.eye(3, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)], dim=1)
    usable[0, 3 + 1] = False
    with torch.no_grad():
        loss(*earlier)
        assert loss(*now).item() == pytest.approx(by_hand(loss, *now, usable, earlier), rel=1e-9)


def test_the_gradient_is_the_slope_for_a_constant_normaliser() -> None:
    """The normaliser counts as a constant within a step: for a constant one, autograd's gradient is the slope."""
    loss, (student, teacher) = build().eval(), answers(5)
    given, measured = student.pooled["stage1"].requires_grad_(), loss._log_mean_exp
    held: list[torch.Tensor] = []

    def kept(scores: torch.Tensor, usable: torch.Tensor) -> torch.Tensor:
        held.append(measured(scores, usable))
        return held[-1]

    loss._log_mean_exp = kept
    (gradient,) = torch.autograd.grad(loss(student, teacher), given)
    turns = itertools.cycle(held)
    loss._log_mean_exp = lambda _scores, _usable: next(turns)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss(student, teacher), given)[0])
    assert torch.autograd.gradcheck(lambda x: loss(replace(student, pooled={"stage1": x}), teacher), given)
