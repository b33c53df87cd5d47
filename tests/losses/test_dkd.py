"""Decoupled distillation: its two parts, their relation to the full KL divergence, and logits of any size."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from torch import Tensor

from tutelage.losses import dkd, kd
from tutelage.networks.output import Outline, Output

PAIR = Outline(classes=5)
generator = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (3 * torch.randn(4, 3, 5, generator=generator, dtype=torch.double) for _ in range(2))
LABELS = torch.tensor([[0, 1, 2], [3, 4, 0], [-1, 1, -1], [2, 2, 2]])


def loss_of(student: Tensor, teacher: Tensor, labels: Tensor | None, alpha: float, beta: float, temperature: float) -> Tensor:
    loss = dkd.build(dkd.Config(alpha=alpha, beta=beta), temperature, PAIR, PAIR)
    value: Tensor = loss(Output(logits=student), Output(logits=teacher, labels=labels))
    return value


def parts_of(own: Tensor, known: Tensor, label: int, temperature: float) -> tuple[float, float]:
    """Return TCKD and NCKD of one step `[classes]`, by their definition in probabilities."""
    q, p = (own / temperature).softmax(0), (known / temperature).softmax(0)
    others = [c for c in range(len(p)) if c != label]
    target = sum(a * (a / b).log() for a, b in ((p[label], q[label]), (1 - p[label], 1 - q[label])))
    shares = sum(p[c] / p[others].sum() * ((p[c] / p[others].sum()) / (q[c] / q[others].sum())).log() for c in others)
    return float(target), float(shares)


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 0.0, 1.0), (0.0, 1.0, 4.0), (1.5, 8.0, 2.0)])
def test_the_loss_is_the_mean_of_its_two_parts_over_batch_and_steps(alpha: float, beta: float, temperature: float) -> None:
    known = torch.where(LABELS >= 0, LABELS, TEACHER.argmax(-1))
    parts = [
        parts_of(own, other, int(label), temperature)
        for own, other, label in zip(STUDENT.flatten(0, 1), TEACHER.flatten(0, 1), known.flatten(), strict=True)
    ]
    expected = temperature**2 * sum(alpha * target + beta * others for target, others in parts) / len(parts)
    assert loss_of(STUDENT, TEACHER, LABELS, alpha, beta, temperature).item() == pytest.approx(expected, rel=1e-10)


def test_nckd_depends_only_on_the_distribution_over_the_other_classes() -> None:
    teacher, student = (torch.tensor([[p]], dtype=torch.double).log() for p in ([0.5, 0.25, 0.25], [0.5, 0.125, 0.375]))
    assert loss_of(student, teacher, None, 1.0, 0.0, 1.0).abs() < 1e-15
    expected = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    assert loss_of(student, teacher, None, 1.0, 1.0, 1.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("label", range(5))
def test_with_one_minus_the_target_probability_as_beta_it_is_kd(label: int, temperature: float) -> None:
    """KL(p ‖ q) = TCKD + (1 - p_y) · NCKD for any target class."""
    own, known = STUDENT[:1, :1], TEACHER[:1, :1]
    doubt = 1 - (known / temperature).softmax(-1)[0, 0, label].item()
    expected = kd.build(kd.Config(), temperature, PAIR, PAIR)(Output(logits=own), Output(logits=known))
    torch.testing.assert_close(loss_of(own, known, torch.tensor([[label]]), 1.0, doubt, temperature), expected)


def test_nckd_of_two_classes_is_0() -> None:
    own, known = STUDENT[..., :2], TEACHER[..., :2]
    assert loss_of(own, known, None, 0.0, 8.0, 4.0) == 0
    expected = kd.build(kd.Config(), 4.0, PAIR, PAIR)(Output(logits=own), Output(logits=known))
    torch.testing.assert_close(loss_of(own, known, None, 1.0, 8.0, 4.0), expected)


def test_an_unknown_label_is_the_teachers_top_class() -> None:
    top = TEACHER.argmax(-1)
    values = [loss_of(STUDENT, TEACHER, labels, 1.0, 8.0, 4.0) for labels in (None, torch.full_like(top, -1), top)]
    assert values[0] == values[1] == values[2] != loss_of(STUDENT, TEACHER, (top + 1) % 5, 1.0, 8.0, 4.0)


def test_the_loss_is_invariant_to_shifted_logits_and_permuted_classes() -> None:
    order = torch.tensor([2, 0, 4, 1, 3])
    moved = torch.where(LABELS >= 0, order.argsort()[LABELS], -1)
    value = loss_of(STUDENT, TEACHER, LABELS, 1.0, 8.0, 4.0)
    torch.testing.assert_close(loss_of(STUDENT[..., order] + 7, TEACHER[..., order] - 3, moved, 1.0, 8.0, 4.0), value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1.0, 3e3])
def test_the_loss_is_exact_for_rounded_and_for_large_logits(dtype: torch.dtype, size: float) -> None:
    """If the target's probability is 1 or 0, no logarithm underflows."""
    own, known = (Output(logits=(size * logits).to(dtype), labels=LABELS) for logits in (STUDENT, TEACHER))
    own.logits.requires_grad_()
    loss = dkd.build(dkd.Config(), 4.0, PAIR, PAIR)
    exact = loss(*(replace(answer, logits=answer.logits.double()) for answer in (own, known)))
    value = loss(own, known)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    value.backward()
    assert own.logits.grad is not None and own.logits.grad.isfinite().all()
