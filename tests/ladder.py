"""A sparsity method of a user's own, `tests.ladder:LowRank`: one training gives a network of low rank and the whole one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.plugins import PluginConfig
from tutelage.sparsity import Calibration, Method, Point


class _Method(Method):
    def __init__(self, config: Any, amount: float) -> None:
        super().__init__(amount)
        self._decay, self.steps = config.decay, 0

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module:
        return _factored(model, _name(model), self._rank(model))

    def penalty(self, model: nn.Module) -> Tensor:
        return self._decay * torch.stack([weight.abs().sum() for weight in model.parameters()]).sum()

    def after_step(self, model: nn.Module, rate: float) -> None:
        self.steps += 1
        with torch.no_grad():
            model.get_submodule(_name(model)).weight[:, 0] = 0.0

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        name, rank = _name(model), self._rank(model)
        smaller = _factored(copy.deepcopy(model), name, rank)
        return [
            Point(model=smaller, amount=self.amount, made=f"rank {rank}", surgery={"layer": name, "rank": rank}),
            Point(model=model, amount=0.0, made="whole"),
        ]

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        self.steps = state["steps"]
        return model

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        return _factored(model, surgery["layer"], surgery["rank"])

    def _rank(self, model: nn.Module) -> int:
        return max(1, round((1 - self.amount) * min(model.get_submodule(_name(model)).weight.shape) / 2))


def _name(model: nn.Module) -> str:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def _factored(model: nn.Module, name: str, rank: int) -> nn.Module:
    """Return the model with a linear layer as the product of two, the best of that rank."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.detach()
    first, second = nn.Linear(weight.shape[1], rank, bias=False), nn.Linear(rank, weight.shape[0])
    if not weight.is_meta:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        first.weight.data, second.weight.data = values[:rank, None] * right[:rank], left[:, :rank].contiguous()
        second.bias.data = layer.bias.detach().clone()
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Sequential(first, second))
    return model


class LowRank:
    """The last layer at a lower rank, beside the whole network."""

    SPACE: dict[str, Any] = {}

    class Config(PluginConfig):
        decay: float = Field(0.0, description="L1 of all weights in the loss")

    @staticmethod
    def build(config: Any, amount: float) -> Method:
        return _Method(config, amount)
