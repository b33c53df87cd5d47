"""Foreground-weighted features: objects count alike, the background apart, and the resolution changes no weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage import plugins
from tutelage.losses.fgd import attention, region_weights
from tutelage.networks.output import Outline, Output, Stage

LEAST_FALL = 10  # the attention's absolute distances have gradients of one size, however near they are
REGIONS = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 0.75, 1.0]], [[0.1, 0.1, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]]])


def outline(side: int = 4, channels: int = 3) -> Outline:
    return Outline(classes=2, stages=(Stage(name="stage1", grid=(side, side), channels=channels),))


def loss(own: Outline, **options: Any) -> torch.nn.Module:
    _, plugin, config = plugins.configure("losses", {"fgd": options})
    built: torch.nn.Module = plugin.build(config, 1.0, own, own).double()
    (adapter,) = built.adapters
    torch.nn.init.eye_(adapter.weight)
    torch.nn.init.zeros_(adapter.bias)
    return built


def output(seed: int, regions: Tensor | None = REGIONS, side: int = 4) -> Output:
    features = torch.randn(2, side * side, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return Output(logits=torch.zeros(2, 1, 2), features={"stage1": features}, regions=regions)


def test_an_objects_positions_share_a_weight_of_1() -> None:
    real = torch.ones(2, 16, dtype=torch.bool)
    objects, background = region_weights(REGIONS, (4, 4), real)
    first = torch.tensor([[1 / 4, 1 / 4, 0, 0], [1 / 4, 1 / 4, 1 / 3, 0], [0, 0, 1 / 3, 0], [0, 0, 1 / 3, 0]])
    torch.testing.assert_close(objects[0].view(4, 4), first)
    assert objects[1].view(4, 4)[0, 0] == 1 and objects[1].sum() == 1, "an object touches one position at least"
    torch.testing.assert_close(background, (objects == 0) / (objects == 0).sum(dim=1, keepdim=True))
    nothing, everything = region_weights(None, (4, 4), real)
    assert not nothing.any() and torch.allclose(everything, torch.tensor(1 / 16))


def test_it_is_the_formula_with_the_teachers_attention() -> None:
    student, teacher = output(0), output(1)
    own, target = student.features["stage1"], teacher.features["stage1"]
    spatial = 16 * (target.abs().mean(dim=2) / 0.5).softmax(dim=1)
    channels = 3 * (target.abs().mean(dim=1) / 0.5).softmax(dim=1)
    weights = region_weights(REGIONS, (4, 4), torch.ones(2, 16, dtype=torch.bool))
    terms = []
    for weight in weights:
        error = size = 0.0
        for row in range(2):
            for position in range(16):
                for channel in range(3):
                    factor = float(weight[row, position] * spatial[row, position] * channels[row, channel])
                    error += factor * float(own[row, position, channel] - target[row, position, channel]) ** 2
                    size += factor * float(target[row, position, channel]) ** 2
        terms.append(error / size)
    own_spatial, own_channels = attention(own, torch.ones(2, 16, dtype=torch.bool))
    apart = float((own_spatial - spatial).abs().mean() + (own_channels - channels).abs().mean())
    expected = 0.7 * terms[0] + 0.3 * terms[1] + 0.2 * apart
    assert loss(outline(), foreground=0.7, attention=0.2)(student, teacher).item() == pytest.approx(expected)


def test_it_is_the_same_at_twice_the_resolution() -> None:
    student, teacher = output(0), output(1)

    def finer(one: Output) -> Output:
        large = one.features["stage1"].unflatten(1, (4, 4)).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return Output(logits=one.logits, features={"stage1": large.flatten(1, 2)}, regions=aligned)

    aligned = REGIONS.clone()
    aligned[1, 0] = torch.tensor([0.0, 0.0, 0.25, 0.25])
    coarse = [Output(logits=one.logits, features=one.features, regions=aligned) for one in (student, teacher)]
    torch.testing.assert_close(loss(outline(8))(*map(finer, coarse)), loss(outline())(*coarse))


def test_a_student_of_no_features_has_the_loss_of_1_and_its_attention() -> None:
    teacher = output(1)
    nothing = Output(logits=teacher.logits, features={"stage1": torch.zeros(2, 16, 3, dtype=torch.double)})
    assert loss(outline(), attention=0.0)(nothing, teacher).item() == pytest.approx(1.0)
    assert loss(outline(), attention=0.0)(teacher, teacher).item() == 0
