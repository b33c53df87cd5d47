"""Hinton's loss against its formula and its limits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tutelage.losses import kd

STUDENT = torch.tensor([[[1.0, -2.0, 0.5]], [[0.0, 3.0, 1.0]]], dtype=torch.double)
TEACHER = torch.tensor([[[2.0, 0.0, -1.0]], [[0.5, 2.5, 0.0]]], dtype=torch.double)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_is_its_formula(temperature: float) -> None:
    p = (TEACHER / temperature).softmax(-1)
    q = (STUDENT / temperature).softmax(-1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum(-1).mean()
    assert kd.build(kd.Config(), temperature)(STUDENT, TEACHER).item() == pytest.approx(expected.item(), rel=1e-12)


def test_kd_at_a_high_temperature_is_the_centred_squared_error() -> None:
    """T² KL → Σ (v - w)² / (2C) for logits centred to mean 0 (Hinton et al., 2015, section 2.1)."""
    v, w = (z - z.mean(-1, keepdim=True) for z in (STUDENT, TEACHER))
    limit = ((v - w) ** 2).sum(-1).mean() / (2 * STUDENT.shape[-1])
    assert kd.build(kd.Config(), 1e4)(STUDENT, TEACHER).item() == pytest.approx(limit.item(), rel=1e-3)


def test_kd_at_temperature_one_has_the_gradient_of_cross_entropy_with_soft_targets() -> None:
    gradients = []
    for loss in (
        lambda logits: kd.build(kd.Config(), 1.0)(logits, TEACHER),
        lambda logits: functional.cross_entropy(logits.flatten(0, 1), TEACHER.flatten(0, 1).softmax(-1)),
    ):
        logits = STUDENT.clone().requires_grad_()
        loss(logits).backward()  # type: ignore[no-untyped-call]
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients)


def test_kd_does_not_see_a_shift_of_logits_nor_overflow() -> None:
    loss = kd.build(kd.Config(), 2.0)
    torch.testing.assert_close(loss(STUDENT + 7, TEACHER - 3), loss(STUDENT, TEACHER))
    assert torch.isfinite(loss(STUDENT * 1e4, TEACHER * 1e4))
