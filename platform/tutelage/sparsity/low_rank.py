"""Low rank: each layer becomes the product of two smaller ones, the best approximation of its rank (Eckart and Young, 1936)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.networks import weights
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._outputs import output_layers
from tutelage.sparsity._removal import Removal, RemovalConfig

KIND = "low_rank"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"uniform": {"choice": [True, False]}}

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = get_args(Layer)
Ranks = dict[str, int]


class Config(RemovalConfig):
    """How the ranks are chosen."""

    uniform: bool = Field(
        True,
        description="remove the same share of the weights of every layer; if false, every layer loses the same share of its "
        "squared singular values, so that layers whose weights are nearly of low rank lose more",
    )


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the weights of the layers that it can factor."""
    return LowRank(config, amount)


class LowRank(Removal):
    """Factors the layers. Output layers stay whole."""

    made = "layers of low rank"

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._config, self._ranks = config, Ranks()

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return `model` with its layers factored; None if the trained weights decide the ranks.

        Raises `InputError` for a network without layers that can be factored.
        """
        layers = _checked(factorable(model, arguments))
        return self.replay(model, {"ranks": uniform_ranks(layers, self.amount)}) if self._config.uniform else None

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its layers factored, in place; layers that were factored before are multiplied first."""
        model = self.reopen(model)
        choose = uniform_ranks if self._config.uniform else equal_loss_ranks
        self._ranks = choose(_checked(factorable(model, calibration.arguments)), self.amount)
        for name, rank in self._ranks.items():
            model.set_submodule(name, factored(_layer(model, name), rank))
        return model

    def reopen(self, model: nn.Module) -> nn.Module:
        """Return `model` with the product in place of each pair of factors."""
        for name in self._ranks:
            model.set_submodule(name, product(model.get_submodule(name)))
        self._ranks = Ranks()
        return model

    def surgery(self) -> Mapping[str, Any]:
        """Return the ranks by layer."""
        return {"ranks": self._ranks}

    def state(self) -> dict[str, Any]:
        """Return the ranks by layer, none before the factoring, with the state of every removal."""
        return {**super().state(), "ranks": self._ranks}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` with the layers that were factored."""
        self._ranks = dict(state["ranks"])
        return self.replay(super().restore(model, state), state)

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model` with these layers factored to these ranks."""
        for name, rank in surgery["ranks"].items():
            model.set_submodule(name, _blank_factors(_layer(model, name), rank))
        return model


def factorable(model: nn.Module, arguments: tuple[Tensor, ...]) -> dict[str, Layer]:
    """Return the linear and the ungrouped convolutional layers by name, less the output layers.

    A layer is left out if its weight is shared with another one or read by a module around it, as in `nn.MultiheadAttention`.
    """
    outputs, shared = output_layers(model, arguments), weights.shared_names(model)
    tied = {*shared, *shared.values()}
    inside = {id(m) for parent in model.modules() if isinstance(parent, nn.MultiheadAttention) for m in parent.modules()}
    return {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) in LAYERS  # a subclass may use its weight in a way of its own
        and getattr(layer, "groups", 1) == 1
        and layer not in outputs
        and id(layer) not in inside
        and f"{name}.weight" not in tied
    }


def _checked(layers: dict[str, Layer]) -> dict[str, Layer]:
    """Return the layers. Raises `InputError` if there are none."""
    if layers:
        return layers
    raise InputError(
        "sparsity.method low_rank: no layer of this network can be factored: it has no linear or ungrouped convolutional layer "
        "but for its outputs, layers with shared weights and those in nn.MultiheadAttention. Take another sparsity method, or "
        "set sparsity.amount: 0."
    )


def uniform_ranks(layers: Mapping[str, Layer], amount: float) -> Ranks:
    """Return the largest rank of each layer, at least 1, that removes the share `amount`, without layers that save nothing."""
    ranks = {name: max(1, int((1.0 - amount) * layer.weight.numel() / _per_rank(layer))) for name, layer in layers.items()}
    return _worthwhile(layers, ranks) if amount else {}


def equal_loss_ranks(layers: Mapping[str, Layer], amount: float) -> Ranks:
    """Return ranks that remove the share `amount` of all layers' weights, at an equal loss of squared singular values.

    By bisection: the largest ranks that remove at least so much; if none does, every layer has rank 1.
    """
    squares = {name: torch.linalg.svdvals(_matrix(layer).double()).square().cpu() for name, layer in layers.items()}
    lost = {name: 1.0 - one.cumsum(0) / one.sum().clamp(min=torch.finfo(one.dtype).tiny) for name, one in squares.items()}
    goal = (1.0 - amount) * sum(layer.weight.numel() for layer in layers.values())
    low, high, ranks = 0.0, 1.0, Ranks()
    for _ in range(50):
        middle = (low + high) / 2
        tried = {name: min(len(one), 1 + int((one > middle).sum())) for name, one in lost.items()}
        kept = _worthwhile(layers, tried)
        size = sum(kept[n] * _per_rank(one) if n in kept else one.weight.numel() for n, one in layers.items())
        low, high, ranks = (low, middle, kept) if size <= goal else (middle, high, ranks or kept)
    return ranks if amount else {}


def factored(layer: Layer, rank: int) -> nn.Sequential:
    """Return two layers whose product is the best approximation of `layer` at this rank; both carry its scale equally."""
    left, values, right = torch.linalg.svd(_matrix(layer).detach().double(), full_matrices=False)
    scale = values[:rank].sqrt()
    pair = _blank_factors(layer, rank)
    factors = {"0.weight": scale[:, None] * right[:rank], "1.weight": left[:, :rank] * scale}
    if layer.bias is not None:
        factors["1.bias"] = layer.bias
    shapes = {name: tensor.shape for name, tensor in pair.state_dict().items()}
    pair.load_state_dict({name: tensor.reshape(shapes[name]) for name, tensor in factors.items()})
    return pair.to(layer.weight.dtype).train(layer.training)


def product(pair: nn.Module) -> Layer:
    """Return the single layer that is equal to two factors applied one after the other."""
    assert isinstance(pair, nn.Sequential)
    first, second = _layer(pair, "0"), _layer(pair, "1")
    layer = _blank_like(first, len(second.weight), biased=second.bias is not None)
    with torch.no_grad():
        layer.weight.copy_((_matrix(second).double() @ _matrix(first).double()).view(layer.weight.shape))
        if layer.bias is not None and second.bias is not None:
            layer.bias.copy_(second.bias)
    return layer.to(first.weight.dtype).train(pair.training)


def _blank_factors(layer: Layer, rank: int) -> nn.Sequential:
    """Return two untrained layers on the device of `layer`."""
    first, biased, device = _blank_like(layer, rank, biased=False), layer.bias is not None, layer.weight.device
    if isinstance(layer, nn.Linear):
        return nn.Sequential(first, nn.Linear(rank, layer.out_features, bias=biased, device=device))
    return nn.Sequential(first, type(layer)(rank, layer.out_channels, 1, bias=biased, device=device))


def _blank_like(layer: Layer, outputs: int, *, biased: bool) -> Layer:
    """Return an untrained layer that reads what `layer` reads, on its device."""
    device = layer.weight.device
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, outputs, bias=biased, device=device)
    return type(layer)(
        layer.in_channels, outputs, layer.kernel_size, layer.stride, layer.padding, layer.dilation,  # type: ignore[arg-type]
        bias=biased, padding_mode=layer.padding_mode, device=device,
    )  # fmt: skip


def _worthwhile(layers: Mapping[str, Layer], ranks: Mapping[str, int]) -> Ranks:
    return {name: rank for name, rank in ranks.items() if rank * _per_rank(layers[name]) < layers[name].weight.numel()}


def _per_rank(layer: Layer) -> int:
    """Return the number of weights of a factored layer for each unit of its rank."""
    return sum(_matrix(layer).shape)


def _matrix(layer: Layer) -> Tensor:
    return layer.weight.flatten(1)


def _layer(model: nn.Module, name: str) -> Layer:
    layer = model.get_submodule(name)
    assert isinstance(layer, Layer), name
    return layer
