"""Low rank: each layer becomes the product of two smaller ones, the nearest of its rank (Eckart and Young, 1936)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.networks import weights
from tutelage.plugins import PluginConfig
from tutelage.sparsity import Calibration, Method, Point, recovery_epochs
from tutelage.sparsity._outputs import output_layers

SPACE: dict[str, dict[str, object]] = {"uniform": {"choice": [True, False]}}

Layer = nn.Linear | nn.Conv2d
Ranks = dict[str, int]


class Config(PluginConfig):
    """How the ranks are chosen, and how long the factored network is trained."""

    uniform: bool = Field(
        True,
        description="remove the same share of the weights of every layer; if false, every layer loses the same share of its "
        "squared singular values, so that layers whose weights are nearly of low rank lose more",
    )
    fine_tune_share: float = Field(0.3, ge=0.0, le=0.9, description="share of the student's epochs left for fine-tuning")


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the weights of the layers that it can factor."""
    return LowRank(config, amount)


class LowRank(Method):
    """Factors the layers once, and leaves the last epochs to the factored network. Output layers stay whole."""

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(amount)
        self._config, self._ranks = config, Ranks()

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after the factoring."""
        return recovery_epochs(self._config.fine_tune_share, epochs)

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return `model` with its layers factored; None if the trained weights decide the ranks."""
        if not self._config.uniform:
            return None
        return self.replay(model, {"ranks": uniform_ranks(factorable(model, arguments), self.amount)})

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its layers factored, in place."""
        choose = uniform_ranks if self._config.uniform else equal_loss_ranks
        self._ranks = choose(factorable(model, calibration.arguments), self.amount)
        for name, rank in self._ranks.items():
            model.set_submodule(name, factored(_layer(model, name), rank))
        return model

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate; the layers of a training of a single epoch are factored here."""
        smaller = model if self._ranks else self.remove(model, calibration)
        return [Point(model=smaller, amount=self.amount, made="layers of low rank", surgery={"ranks": self._ranks})]

    def state(self) -> dict[str, Any]:
        """Return the ranks by layer; none before the factoring."""
        return {"ranks": self._ranks}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` with the layers that were factored."""
        self._ranks = dict(state["ranks"])
        return self.replay(model, state)

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
        if type(layer) in (nn.Linear, nn.Conv2d)  # a subclass may use its weight in a way of its own
        and getattr(layer, "groups", 1) == 1
        and layer not in outputs
        and id(layer) not in inside
        and f"{name}.weight" not in tied
    }


def uniform_ranks(layers: Mapping[str, Layer], amount: float) -> Ranks:
    """Return by layer the largest rank, at least 1, that removes the share `amount` of its weights; none that saves nothing."""
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


def _blank_factors(layer: Layer, rank: int) -> nn.Sequential:
    """Return two untrained layers on the device of `layer`."""
    biased, device = layer.bias is not None, layer.weight.device
    if isinstance(layer, nn.Linear):
        first: nn.Module = nn.Linear(layer.in_features, rank, bias=False, device=device)
        return nn.Sequential(first, nn.Linear(rank, layer.out_features, bias=biased, device=device))
    first = nn.Conv2d(
        layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation,  # type: ignore[arg-type]
        bias=False, padding_mode=layer.padding_mode, device=device,
    )  # fmt: skip
    return nn.Sequential(first, nn.Conv2d(rank, layer.out_channels, 1, bias=biased, device=device))


def _worthwhile(layers: Mapping[str, Layer], ranks: Mapping[str, int]) -> Ranks:
    return {name: rank for name, rank in ranks.items() if rank * _per_rank(layers[name]) < layers[name].weight.numel()}


def _per_rank(layer: Layer) -> int:
    """Return the number of weights of a factored layer for each unit of its rank."""
    return sum(_matrix(layer).shape)


def _matrix(layer: Layer) -> Tensor:
    return layer.weight.flatten(1)


def _layer(model: nn.Module, name: str) -> Layer:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | nn.Conv2d), name
    return layer
