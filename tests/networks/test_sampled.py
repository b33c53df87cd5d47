"""Classes drawn from a teacher: unbiased targets and gradients, and the bytes that they need."""

from __future__ import annotations

import math

import torch

from tutelage.losses.kd import SoftTargets
from tutelage.networks import sampled
from tutelage.networks.output import Output
from tutelage.networks.top_k import index_dtype

TEACHER = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double) * 2
STUDENT = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def test_the_mean_over_draws_is_the_cross_entropy_and_has_its_gradient() -> None:
    classes = sampled.drawn(TEACHER, 200_000, (0,))
    own, other = STUDENT.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    found = SoftTargets(1.0)(Output(logits=own), Output(logits=torch.empty(0), drawn=classes))
    exact = SoftTargets(1.0)(Output(logits=other), Output(logits=TEACHER))
    target = TEACHER.softmax(dim=-1)
    entropy = -(target * target.log()).sum()
    torch.testing.assert_close(found, exact + entropy, atol=0.01, rtol=0)
    one, expected = torch.autograd.grad(found, own)[0], torch.autograd.grad(exact, other)[0]
    torch.testing.assert_close(one, expected, atol=0.005, rtol=0)


def test_padding_changes_nothing() -> None:
    classes, mask = sampled.drawn(TEACHER.expand(2, 3, 6), 4, (0,)), torch.tensor([[True, True, False], [True, False, False]])
    logits = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2))
    wrong = logits.masked_fill(~mask.unsqueeze(-1), float("nan"))
    values = [
        SoftTargets(1.0)(Output(logits=one), Output(logits=torch.empty(0), drawn=classes, mask=mask)) for one in (logits, wrong)
    ]
    assert torch.equal(*values)


def test_equal_seeds_draw_equal_classes_and_others_draw_others() -> None:
    logits = torch.zeros(50, 20, 65)
    one, same, *others = (sampled.drawn(logits, 12, seed) for seed in ((0, 1, 2), (0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 1, 3)))
    assert torch.equal(one, same) and not any(torch.equal(one, other) for other in others)
    assert one.shape == (50, 20, 12) and one.min() == 0 and one.max() == 64


def test_steps_that_are_not_finite_have_some_class() -> None:
    logits = torch.tensor([[float("nan")] * 3, [0.0, float("inf"), 0.0], [0.0, -math.inf, -math.inf]])
    classes = sampled.drawn(logits, 5, (0,))
    assert classes.min() >= 0 and classes.max() <= 2 and not classes[2].any()


def test_twelve_classes_of_a_step_need_at_most_a_tenth_of_its_logits() -> None:
    """For 65 characters, 12 of 130 bytes; for more classes, the share falls further."""
    for classes in (65, 256, 1024, 50_257):
        item = {"uint8": 1, "uint16": 2, "int32": 4}[index_dtype(classes)]
        assert 12 * item <= 0.1 * 2 * classes
