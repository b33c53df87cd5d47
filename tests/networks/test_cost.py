"""Sizes and multiply–accumulates of networks with shared weights and with layers that have fused kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.plain import plain_signature
from tutelage.networks import cost
from tutelage.networks.weights import weights_of


class Sequences(nn.Module):
    """Rows of 8 pixels as 8 steps of a layer over sequences."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(8, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        steps = inputs.squeeze(1)
        found = self.layer(steps, steps, steps) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(steps)
        logits: Tensor = self.head((found[0] if isinstance(found, tuple) else found).mean(dim=1))
        return logits


ATTENTION = 8 * 8 * 8 * 4 + 2 * 8 * 8 * 8
LAYERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), ATTENTION),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ATTENTION + 8 * 8 * 16 * 2),
    "lstm": (lambda: nn.LSTM(8, 8, batch_first=True), 8 * (8 + 8) * 4 * 8),
    "gru": (lambda: nn.GRU(8, 8, batch_first=True), 8 * (8 + 8) * 3 * 8),
}


@pytest.mark.parametrize("name", LAYERS)
def test_macs_are_those_counted_by_hand_before_and_after_training(name: str) -> None:
    make, wanted = LAYERS[name]
    with torch.device("meta"):
        assert cost.macs(Sequences(make()), plain_signature())["macs"] == wanted + 80
    model = Sequences(make())
    model(torch.randn(4, 1, 8, 8)).sum().backward()
    assert cost.macs(model, plain_signature())["macs"] == wanted + 80
    assert torch.backends.mha.get_fastpath_enabled() and torch._C._get_mkldnn_enabled() and model.training


def test_a_shared_weight_counts_once() -> None:
    first, second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    second.weight = first.weight
    assert cost.size(nn.Sequential(first, second)) == {"params": 64, "nonzero_params": 64, "size_bytes": 256}
    assert weights_of(nn.Sequential(first, second)).keys() == {"0.weight"}


def test_zeros_save_neither_bytes_nor_multiply_accumulates() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
    dense, macs = cost.size(model), cost.macs(model, plain_signature())
    with torch.no_grad():
        for weight in model.parameters():
            weight.view(-1)[::2] = 0
    sparse = cost.size(model)
    assert cost.macs(model, plain_signature()) == macs
    assert (sparse["params"], sparse["size_bytes"]) == (dense["params"], dense["size_bytes"])
    assert sparse["nonzero_params"] <= 0.51 * dense["nonzero_params"]
