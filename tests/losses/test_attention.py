"""Attention of heads: the loss against its formula, and the stages that can be compared."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import attention
from tutelage.networks.output import Outline, Output, Stage

HEADS = attention.Config(of="heads")


def outline(*heads: int, positions: int = 4) -> Outline:
    stages = (Stage(name=f"stage{i}", grid=(positions,), channels=6, heads=n) for i, n in enumerate(heads, start=1))
    return Outline(classes=3, stages=tuple(stages))


def said(**heads: torch.Tensor) -> Output:
    return Output(logits=torch.zeros(5, 1, 3), heads=heads)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_heads_loss_is_the_squared_difference_over_the_teachers_mean_square(scale: float) -> None:
    loss = attention.build(HEADS, 1.0, outline(2, 2), outline(2, 2))
    own, other = (
        {f"stage{i}": drawn(5, 2, 4, 4, seed=i) for i in (1, 2)},
        {f"stage{i}": drawn(5, 2, 4, 4, seed=-i) for i in (1, 2)},
    )
    expected = sum((own[k] - other[k]).square().sum() / other[k].square().sum() for k in own) / 2
    found = loss(said(**{k: scale * v for k, v in own.items()}), said(**{k: scale * v for k, v in other.items()}))
    torch.testing.assert_close(found, expected)


def test_unequal_numbers_of_heads_are_compared_by_their_means() -> None:
    loss = attention.build(HEADS, 1.0, outline(3), outline(2))
    own, other = drawn(5, 3, 4, 4), drawn(5, 2, 4, 4, seed=1)
    apart = (own.mean(1) - other.mean(1)).square().sum() / other.mean(1).square().sum()
    torch.testing.assert_close(loss(said(stage1=own), said(stage1=other)), apart)


@pytest.mark.parametrize(
    ("own", "other", "match"),
    [
        (outline(2, positions=9), outline(2), "student's stage1 has 9 positions, the teacher's stage1 has 4"),
        (outline(2), outline(0), "the teacher has no attention head"),
        (outline(0), outline(2), "the student has no attention head"),
        (outline(2, 0), outline(0, 2), "no pair of stages has heads in both networks"),
    ],
)
def test_networks_whose_heads_cannot_be_compared_are_an_error(own: Outline, other: Outline, match: str) -> None:
    with pytest.raises(InputError, match=match):
        attention.build(HEADS, 1.0, own, other)
