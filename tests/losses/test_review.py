"""ReviewKD: the weights of its levels, fusion from deep to shallow stages, and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.losses import review
from tutelage.networks.output import Outline, Output, Stage

OWN = Outline(classes=3, stages=(Stage(name="stage1", grid=(8, 8), channels=4), Stage(name="stage2", grid=(4, 4), channels=6)))
OTHER = Outline(
    classes=3, stages=(Stage(name="stage1", grid=(8, 8), channels=5), Stage(name="stage2", grid=(4, 4), channels=7))
)


def build() -> Any:
    torch.manual_seed(0)
    return review.build(review.Config(channels=3), 1.0, OWN, OTHER).double()


def answer(outline: Outline, seed: int) -> Output:
    generator = torch.Generator().manual_seed(seed)
    features = {
        stage.name: torch.randn(2, stage.positions, stage.channels, generator=generator, dtype=torch.double)
        for stage in outline.stages
    }
    return Output(logits=torch.zeros(2, 1, 3), features=features)


@pytest.mark.parametrize(("side", "shares"), [(8, {4: 1 / 2, 2: 1 / 4, 1: 1 / 8}), (4, {2: 1 / 2, 1: 1 / 4}), (2, {1: 1 / 2})])
def test_each_coarser_level_of_the_context_loss_has_half_the_weight(side: int, shares: dict[int, float]) -> None:
    """As published (`hcl` of ReviewKD): the first pooled level has half the weight of the full grid, for any side."""
    view, target = (torch.randn(2, 3, side, side, dtype=torch.double) for _ in range(2))
    total = functional.mse_loss(view, target)
    for to, share in shares.items():
        total = total + share * functional.mse_loss(*(functional.adaptive_avg_pool2d(maps, to) for maps in (view, target)))
    found = review._context(view.flatten(2).transpose(1, 2), target.flatten(2).transpose(1, 2), (side, side))
    torch.testing.assert_close(found, total / (1 + sum(shares.values())))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_projection_of_0_costs_the_same_at_every_scale(scale: float) -> None:
    loss, student = build(), answer(OWN, 0)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.zero_()
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double() * scale
    known = {
        stage.name: board.repeat(stage.grid[0] // 2, stage.grid[1] // 2).view(1, -1, 1).expand(2, -1, stage.channels)
        for stage in OTHER.stages
    }
    found = loss(student, Output(logits=student.logits, features=known)).item()
    assert found == pytest.approx((1 / 1.875 + 1 / 1.75) / 2), "pooled, a chequerboard is nought; as a whole it counts 1"


def test_fusion_flows_from_deep_to_shallow_stages_only() -> None:
    loss, student, teacher = build(), answer(OWN, 0), answer(OTHER, 1)
    for number, name in enumerate(("stage1", "stage2")):
        own = {k: v.clone().requires_grad_() for k, v in student.features.items()}
        (pair,) = [pair for pair in loss.pairs if pair[0].name == name]
        only = review.Review([*loss.pairs[::-1]], 3).double()
        only.load_state_dict(loss.state_dict())
        known = {k: v if k == pair[1].name else torch.full_like(v, 1e15) for k, v in teacher.features.items()}
        only(Output(logits=student.logits, features=own), Output(logits=student.logits, features=known)).backward()
        reached = {k for k, v in own.items() if v.grad is not None and v.grad.abs().max() > 1e-9}
        assert reached == ({"stage1", "stage2"} if number == 0 else {"stage2"}), "the level at 1e15 is flat in relative terms"


def test_a_network_of_one_position_is_an_error() -> None:
    flat = Outline(classes=3, stages=(Stage(name="stage1", grid=(), channels=4),))
    with pytest.raises(InputError, match="a perceptron has one"):
        review.build(review.Config(), 1.0, flat, OTHER)
