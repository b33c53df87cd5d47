"""Which weights are coupled to a channel, and their norms."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tutelage.sparsity._coupled import CoupledGroup
from tutelage.sparsity._tracing import groups


def coupled(model: nn.Module) -> list[CoupledGroup]:
    """Return the coupled channels of a model, the narrowest layer first."""
    return sorted(groups(model, (torch.randn(2, 3, 6, 6),)), key=lambda group: group.width)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_channels_norm_is_of_its_filter_its_normalisation_and_the_weights_that_read_it(
    transposed: bool, norm: nn.Module
) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d if transposed else nn.Conv2d
    model = nn.Sequential(layer(3, 4, 3), copy.deepcopy(norm), nn.ReLU(), layer(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1))
    first, second = coupled(model)
    assert (first.width, first.layers, second.width, second.layers) == (4, {"0", "1"}, 5, {"3"})
    gives, reads = (1, 0) if transposed else (0, 1)
    parts = [
        model[0].weight.movedim(gives, 0),
        model[0].bias,
        model[1].weight,
        model[1].bias,
        model[3].weight.movedim(reads, 0),
    ]
    expected = sum(part.detach().reshape(4, -1).square().sum(dim=1) for part in parts)
    torch.testing.assert_close(first.norms(model).square(), expected)
    first.scale(model, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert [part[1].abs().sum().item() for part in parts] == [0.0] * 5 and all(part[0].abs().sum() > 0 for part in parts[:1])


@pytest.mark.parametrize("transposed", [False, True])
def test_the_weights_that_several_groups_of_a_convolution_share_belong_to_no_channel(transposed: bool) -> None:
    """Position i along their axis stands for one channel of each group."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d if transposed else nn.Conv2d
    model = nn.Sequential(nn.Conv2d(3, 6, 1), layer(6, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 2, 1))
    slices = [{(one.parameter, one.axis) for one in group.slices} for group in coupled(model)]
    wide = {("0.weight", 0), ("0.bias", 0), *([("1.weight", 0)] if transposed else [])}
    assert slices == [wide, {*([] if transposed else [("1.weight", 0)]), ("1.bias", 0), ("3.weight", 1)}]
    assert all(len(group.norms(model)) == group.width for group in coupled(model))


def test_a_depthwise_convolution_is_of_the_channels_that_it_reads() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    (group,) = coupled(model)
    assert {one.parameter for one in group.slices} == {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight"}
    assert group.layers == {"0", "1"}
