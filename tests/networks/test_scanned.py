"""Recurrent layers as loops compute what torch's own layers compute, and are exported for any number of steps."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.plain import SENTENCES
from tutelage.models import heads
from tutelage.networks import scanned
from tutelage.networks.program import program_of

OPTIONS = list(product([nn.LSTM, nn.GRU], [1, 2], [False, True], [False, True]))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layers", "bidirectional", "bias"), OPTIONS)
def test_a_loop_computes_what_torchs_layer_computes(kind: Any, layers: int, bidirectional: bool, bias: bool) -> None:
    torch.manual_seed(0)
    for first in (False, True):
        layer = kind(3, 4, layers, bias=bias, batch_first=first, bidirectional=bidirectional).eval()
        given, start = torch.randn(2, 5, 3), torch.randn(layers * (1 + bidirectional), 2 if first else 5, 4)
        for hx in (None, (start, start + 1) if kind is nn.LSTM else start):
            expected = layer(given, hx)
            with scanned.loops():
                found = layer(given, hx)
            torch.testing.assert_close(found, expected)


def test_layers_are_torchs_own_again_behind_the_block_also_after_an_error() -> None:
    before = nn.LSTM.forward, nn.GRU.forward
    with scanned.loops():
        assert nn.LSTM.forward is not before[0]
    with pytest.raises(ZeroDivisionError), scanned.loops():
        raise ZeroDivisionError
    assert (nn.LSTM.forward, nn.GRU.forward) == before


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, proj_size=2), nn.LSTM(3, 4, 2, dropout=0.5)], ids=["projected", "dropout"])
def test_a_layer_that_the_loop_does_not_compute_runs_as_torchs_own(layer: nn.LSTM) -> None:
    given = torch.randn(5, 2, 3)
    torch.manual_seed(0)
    expected, _ = layer(given)
    with scanned.loops():
        torch.manual_seed(0)
        found, _ = layer(given)
    torch.testing.assert_close(found, expected)


class OwnReader(nn.Module):
    """A user's network with recurrent layers of two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(8, 4), nn.GRU(4, 3, 2, batch_first=True, bidirectional=True)
        self.head = heads(6, SENTENCES)

    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        return self.head(self.layer(self.embedding(tokens))[0], mask)


@pytest.mark.slow
def test_a_users_recurrent_network_is_exported_for_any_length() -> None:
    model = OwnReader().eval()
    program = program_of(model, SENTENCES).module()
    for steps in (1, 9):
        arguments = torch.randint(0, 8, (3, steps)), torch.ones(3, steps, dtype=torch.bool)
        torch.testing.assert_close(program(*arguments), model(*arguments))
