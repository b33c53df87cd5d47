"""Similarity-preserving distillation: the paper's formula, its invariances, and zero features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tutelage.losses import Loss, similarity
from tutelage.networks.output import Outline, Output, Stage

STUDENT, TEACHER = (
    Outline(classes=3, stages=tuple(Stage(name=f"stage{i}", grid=grid, channels=c) for i in (1, 2, 3)))
    for grid, c in (((2, 2), 5), ((3,), 7))
)
EMPTY = torch.zeros(6, 1, 3)


def built(**options: float | bool) -> Loss:
    return similarity.build(similarity.Config.model_validate(options), 1.0, STUDENT, TEACHER)


def last(features: Tensor) -> Output:
    return Output(logits=EMPTY, features={"stage3": features}, pooled={"stage3": features.mean(1)})


def test_the_loss_is_the_papers_distance_times_the_batch() -> None:
    own, known = torch.randn(6, 4, 5, dtype=torch.double), torch.randn(6, 3, 7, dtype=torch.double)
    grams = []
    for features in (own, known):
        rows = [[sum(float(x * y) for x, y in zip(a.flatten(), b.flatten(), strict=True)) for b in features] for a in features]
        grams.append(torch.tensor([[g / sum(x * x for x in row) ** 0.5 for g in row] for row in rows], dtype=torch.double))
    papers = (grams[0] - grams[1]).square().sum() / 6**2
    torch.testing.assert_close(built()(last(own), last(known)), papers * 6)


def test_two_orthogonal_examples_that_are_equal_to_the_teacher() -> None:
    unlike, same = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]), torch.ones(2, 1, 2)
    assert built()(last(unlike), last(same)).item() == pytest.approx(2 - 2**0.5)


def test_the_loss_is_invariant_to_rotation_and_one_scale_only() -> None:
    known = torch.randn(6, 3, 7, dtype=torch.double)
    rotation, _ = torch.linalg.qr(torch.randn(21, 21, dtype=torch.double))
    turned = (100 * known.flatten(1) @ rotation).view(6, 3, 7)
    assert built()(last(turned), last(known)) < 1e-24
    assert built()(last(known * torch.linspace(1, 3, 6).view(6, 1, 1)), last(known)) > 1e-3


def test_with_pooled_the_means_over_the_positions_are_compared() -> None:
    own, known = torch.randn(6, 4, 5, dtype=torch.double), torch.randn(6, 3, 7, dtype=torch.double)
    means = (last(features.mean(1, keepdim=True)) for features in (own, known))
    torch.testing.assert_close(built(pooled=True)(last(own), last(known)), built()(*means))
    assert similarity.needs(similarity.Config(pooled=True)) == {"pooled"}
    assert similarity.needs(similarity.Config()) == {"features"}


@pytest.mark.parametrize(("depth", "stage"), [(0.0, "stage1"), (0.5, "stage2"), (1.0, "stage3")])
def test_depth_selects_a_pair_of_stages(depth: float, stage: str) -> None:
    features = {f"stage{i}": torch.randn(6, 4, 5) for i in (1, 2, 3)}
    changed = features | {stage: torch.randn(6, 4, 5)}
    assert built(depth=depth)(Output(logits=EMPTY, features=features), Output(logits=EMPTY, features=features)) < 1e-10
    assert built(depth=depth)(Output(logits=EMPTY, features=features), Output(logits=EMPTY, features=changed)) > 1e-3


def test_zero_features_have_no_gradient_and_one_example_costs_0() -> None:
    own = torch.randn(6, 4, 5)
    own[2] = 0
    own.requires_grad_()
    built()(last(own), last(torch.randn(6, 3, 7))).backward()
    assert own.grad is not None and own.grad.abs().max() < 1, "no division by a length of 0"
    assert built()(last(own[:1]), last(torch.randn(1, 3, 7))).item() == pytest.approx(0, abs=1e-12)
