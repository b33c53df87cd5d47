from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.sparsity import Calibration
from tutelage.sparsity.low_rank import Config, build, equal_loss_ranks, factorable, factored, product, uniform_ranks

IMAGE = (torch.zeros(2, 3, 8, 8),)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 4), nn.Linear(4, 7, bias=False), nn.Conv2d(3, 5, 3, padding=1),
        nn.Conv2d(2, 8, (3, 1), stride=2, padding=2, dilation=2, padding_mode="reflect", bias=False),
        nn.Conv1d(4, 6, 3, stride=2, padding=1), nn.Conv3d(2, 5, 3, bias=False),
    ],
)  # fmt: skip
def test_a_product_of_full_rank_is_the_layer_itself(layer: Any) -> None:
    is_linear = isinstance(layer, nn.Linear)
    inputs = (
        torch.randn(2, layer.in_features) if is_linear else torch.randn(2, layer.in_channels, *[9] * (layer.weight.ndim - 2))
    )
    pair = factored(layer, min(layer.weight.flatten(1).shape))
    torch.testing.assert_close(pair(inputs), layer(inputs), atol=1e-5, rtol=1e-5)
    assert (pair[1].bias is None) == (layer.bias is None)
    again = product(pair)
    assert repr(again) == repr(layer)
    torch.testing.assert_close(again(inputs), layer(inputs), atol=1e-5, rtol=1e-5)


def test_the_error_is_that_of_the_singular_values_left_out() -> None:
    layer = nn.Linear(12, 9)
    pair = factored(layer, 4)
    values = torch.linalg.svdvals(layer.weight.detach())
    error = (pair[1].weight @ pair[0].weight - layer.weight).detach().norm()
    assert float(error) == pytest.approx(float(values[4:].square().sum().sqrt()), rel=1e-4)
    norms = [pair[0].weight.norm(dim=1), pair[1].weight.norm(dim=0)]
    torch.testing.assert_close(norms[0], norms[1], msg="both factors carry the scale equally")


def test_a_uniform_rank_is_the_largest_that_removes_the_share() -> None:
    layers: dict[str, Any] = {"linear": nn.Linear(30, 20), "conv": nn.Conv2d(8, 16, 3), "thin": nn.Linear(40, 1)}
    ranks = uniform_ranks(layers, 0.5)
    assert ranks == {"linear": 6, "conv": 6}  # 6 · 50 ≤ 300 < 7 · 50;  6 · 88 ≤ 576 < 7 · 88;  1 · 41 > 40
    assert uniform_ranks(layers, 0.0) == {}


def test_an_equal_loss_takes_the_rank_of_a_layer_that_needs_none() -> None:
    plain, thin = nn.Linear(32, 32), nn.Linear(32, 32)
    with torch.no_grad():
        thin.weight.copy_(torch.randn(32, 2) @ torch.randn(2, 32))
    layers: dict[str, Any] = {"plain": plain, "thin": thin}
    assert equal_loss_ranks(layers, 0.3)["thin"] == 2
    for amount in (0.3, 0.6, 0.9):
        ranks = equal_loss_ranks(layers, amount)
        size = sum(64 * ranks[name] if name in ranks else 1024 for name in layers)
        assert size <= (1 - amount) * 2048 + 1e-6
    assert equal_loss_ranks(layers, 0.0) == {}


@pytest.mark.parametrize("uniform", [True, False])
def test_a_network_without_layers_that_can_be_factored_is_an_error_before_a_training_and_in_it(uniform: bool) -> None:
    method, network = build(Config(uniform=uniform), 0.5), nn.Linear(4, 3)
    with pytest.raises(InputError, match=r"no layer of this network can be factored.*Take another sparsity method"):
        method.presized(network, (torch.randn(2, 4),))
    with pytest.raises(InputError, match="no layer of this network can be factored"):
        method.remove(network, Calibration(arguments=(torch.randn(2, 4),)))


class Odd(nn.Module):
    """A tied layer, an attention whose projection is read as a weight, a grouped convolution and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.a, self.b, self.tied = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.tied.weight
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        tokens = self.grouped(self.conv(images)).flatten(2).transpose(1, 2)
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        features = self.tied(self.b(self.a(mixed)))
        return {"first": self.first(features).squeeze(-1), "second": self.second(features.mean(dim=1))}


def test_output_layers_and_weights_that_others_read_stay_whole() -> None:
    model = Odd()
    assert set(factorable(model, IMAGE)) == {"conv", "a"}
    smaller = build(Config(), 0.5).remove(model, Calibration(arguments=IMAGE))
    assert smaller(*IMAGE)["second"].shape == (2, 3) and isinstance(smaller.get_submodule("conv"), nn.Sequential)
