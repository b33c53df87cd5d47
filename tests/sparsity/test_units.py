"""Hidden units of recurrent layers: masked equals removed, which units go, what reads them, and how a network is read back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.sparse_models import RECURRENT
from tutelage.errors import InputError
from tutelage.networks.weights import load, weights_of
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._recurrent import cells, recurrent
from tutelage.sparsity.units import Config, build

MODELS = [RECURRENT]

TOKENS = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([7, 5, 2, 1])
MASK = torch.arange(7) < LENGTHS[:, None]
KINDS: list[type[nn.RNNBase]] = [nn.LSTM, nn.GRU, nn.RNN]


class Tagger(nn.Module):
    """A masked sequence of inputs, a recurrent layer, and a head for each step and one for the whole sequence."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, read: str = "mean", **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read = read
        self.layer: Any = kind(5, 6, batch_first=True, **options)
        width = 12 if options.get("bidirectional") else 6
        self.norm, self.second = nn.BatchNorm1d(width), nn.GRU(width + 5, 1, batch_first=True)
        self.steps, self.whole = nn.Linear(width, 3), nn.Linear(width, 2)
        self.after = nn.Linear(1, 2)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        lengths = mask.sum(dim=1)
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        sequence, state = self.layer(packed)
        sequence, _ = pad_packed_sequence(sequence, batch_first=True, total_length=tokens.shape[1])
        hidden = state[0] if isinstance(state, tuple) else state
        both = torch.cat([hidden[-2], hidden[-1]], dim=1) if len(hidden) % 2 == 0 else hidden[-1]
        if self.read == "state":
            return {"whole": self.whole(both if both.shape[1] == self.whole.in_features else both[:, : self.whole.in_features])}
        if self.read == "layers":
            joined = self.second(torch.cat([tokens, self.norm(sequence.transpose(1, 2)).transpose(1, 2)], dim=2))[0]
            return {"steps": self.steps(sequence.relu()), "after": self.after(joined[:, -1])}
        mean = (sequence * mask[..., None]).sum(dim=1) / lengths[:, None]
        scores = (sequence @ mean[..., None]).softmax(dim=1)
        return {"steps": self.steps(torch.tanh(sequence)), "whole": self.whole((scores * sequence).sum(dim=1))}


def silenced(model: Tagger, kept: dict[str, set[int]]) -> Tagger:
    """Return a copy with the weights of all other units set to zero, by hand."""
    masked = copy.deepcopy(model)
    layer = masked.layer
    with torch.no_grad():
        for ending, own in kept.items():
            for name, weight in layer.named_parameters():
                if name.endswith(ending) and (ending.endswith("reverse") or "reverse" not in name):
                    units = weight.view(-1, layer.hidden_size, *weight.shape[1:])
                    for unit in set(range(layer.hidden_size)) - own:
                        units[:, unit] = 0.0
        last = list(kept.values())[-2 if layer.bidirectional else -1 :]
        alive = torch.tensor([unit in own for own in last for unit in range(layer.hidden_size)])
        for tensor in (masked.norm.weight, masked.norm.bias, masked.norm.running_mean):
            tensor *= alive
    return masked


def trained_batch_norm(model: Tagger) -> Tagger:
    with torch.no_grad():
        model.norm.running_var.uniform_(0.5, 2.0)
        model.norm.weight.uniform_(0.5, 2.0)
    return model.eval()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("read", ["mean", "state", "layers"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_units_equals_one_whose_units_are_zero(kind: Any, options: dict[str, Any], read: str) -> None:
    model = trained_batch_norm(Tagger(kind, read, **options))
    kept = [torch.tensor(sorted({n % 6, (n + 2) % 6, (n + 3) % 6})) for n in range(len(cells(model.layer)))]
    masked = silenced(model, dict(zip(cells(model.layer), (set(own.tolist()) for own in kept), strict=True)))
    recurrent(model, (TOKENS, MASK), "layer").remove(kept)
    assert model.layer.hidden_size == 3 and model.layer.weight_ih_l0.shape[0] % 3 == 0
    same(masked(TOKENS, MASK), model(TOKENS, MASK))
    sum(output.sum() for output in model(TOKENS, MASK).values()).backward()


def method(amount: float = 0.5, **options: Any) -> Method:
    return build(Config(**options), amount)


def test_the_norm_counts_gates_recurrent_columns_the_next_layer_and_what_reads_the_outputs() -> None:
    model = trained_batch_norm(Tagger(nn.LSTM, num_layers=2))
    one = recurrent(model, (TOKENS, MASK), "layer")
    layer, unit = model.layer, 4

    def gates(ending: str) -> list[Tensor]:
        names = [f"{part}{ending}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        rows = [getattr(layer, name).view(4, 6, -1)[:, unit] for name in names]
        return [*rows, getattr(layer, f"weight_hh{ending}")[:, unit]]

    first = [*gates("_l0"), layer.weight_ih_l1[:, unit]]
    second = [*gates("_l1"), model.steps.weight[:, unit], model.whole.weight[:, unit]]
    expected = torch.stack([sum(part.square().sum() for part in parts) for parts in (first, second)])
    torch.testing.assert_close(one.squares()[:, unit], expected.detach())


def test_the_weakest_units_of_each_cell_are_removed_and_random_ones_by_the_seed() -> None:
    def weights_left(score: Any, seed: int = 0) -> list[float]:
        model = Tagger(nn.GRU)
        with torch.no_grad():
            model.layer.bias_ih_l0.copy_(torch.arange(6).repeat(3) * 1e-3)  # marks
            for unit in (0, 2, 3):
                model.layer.weight_ih_l0.view(3, 6, 5)[:, unit] *= 100.0
        method(score=score).remove(model, Calibration(arguments=(TOKENS, MASK), seed=seed))
        return [round(1e3 * mark) for mark in model.layer.bias_ih_l0[:3].tolist()]

    assert weights_left("norm") == [0, 2, 3]
    draws = [weights_left("random", seed) for seed in range(6)]
    assert draws[0] == weights_left("random", 0) and len(set(map(tuple, draws))) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_removed_again_from_a_network_that_lost_some_and_it_is_read_back(kind: Any) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    model, one = Tagger(kind, **options), method(0.5)
    data = Calibration(arguments=(TOKENS, MASK))
    assert one.remove(model, data).layer.hidden_size == 3  # type: ignore[union-attr]
    one.amount = 0.7  # of the six units that the whole network has
    model = one.remove(model, data).eval()  # type: ignore[assignment]
    assert model.layer.hidden_size == 2
    (point,) = one.finish(model, data)
    assert point.surgery == {"units": {"layer": 2}}
    again = load(method().replay(Tagger(kind, **options), point.surgery), weights_of(model)).eval()
    same(model(TOKENS, MASK), again(TOKENS, MASK))
    resumed = load(method().restore(Tagger(kind, **options), one.state()), weights_of(model)).eval()
    same(model(TOKENS, MASK), resumed(TOKENS, MASK))


def test_one_unit_stays_whatever_the_share() -> None:
    model = Tagger(nn.LSTM)
    assert method(0.95).remove(model, Calibration(arguments=(TOKENS, MASK))).layer.hidden_size == 1  # type: ignore[union-attr]


class Normed(Tagger):
    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        return self.steps(nn.functional.relu(self.read_out(self.layer(tokens)[0])))

    def read_out(self, sequence: Tensor) -> Tensor:
        raise NotImplementedError


class LayerNormed(Normed):
    def __init__(self) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(6)

    def read_out(self, sequence: Tensor) -> Tensor:
        return self.layer_norm(sequence)  # type: ignore[no-any-return]


class Shifted(Normed):
    def read_out(self, sequence: Tensor) -> Tensor:
        return sequence + 1.0


class Tied(Normed):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(6, 3)
        self.other.weight = self.steps.weight

    def read_out(self, sequence: Tensor) -> Tensor:
        return sequence


class Direct(Normed):
    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        return self.layer(tokens)[0].mean(dim=1)


class Projected(Direct):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(5, 6, proj_size=3, batch_first=True)


class Counted(Normed):
    def read_out(self, sequence: Tensor) -> Tensor:
        return sequence / sequence.shape[-1]


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (LayerNormed, "'layer' is read by a LayerNorm, whose mean and variance would change"),
        (Shifted, "'layer' is read by 'steps' together with other values, or after a function that is not 0 at 0"),
        (Tied, "'layer' is read by 'steps', which shares its weights with another layer"),
        (Direct, "'layer' is read by the network's outputs or by code that is no layer"),
        (Counted, "code in this network depends on the units of 'layer'"),
        (Projected, r"'layer' projects its outputs \(proj_size\)"),
        (lambda: nn.Sequential(nn.Linear(5, 2)), "it has no LSTM, GRU or RNN"),
    ],
)  # fmt: skip
def test_a_network_whose_units_cannot_be_removed_is_an_error_with_the_reason(network: Callable[[], Any], why: str) -> None:
    model = network()
    with pytest.raises(InputError, match=rf"sparsity.method units: .*{why}.*sparsity.amount: 0"):
        method().remove(model, Calibration(arguments=(TOKENS, MASK) if isinstance(model, Tagger) else (TOKENS,)))
