"""Shared code of the methods that set single weights to zero: the weights, their masks, and keeping the zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from tutelage.sparsity import Calibration, Method, Point

LAYERS = (nn.Linear, _ConvNd, nn.RNNBase, nn.MultiheadAttention)


class Masked(Method):
    """A method whose network keeps its shapes: `masks` has a mask for each weight; True = keep.

    A weight without a mask stays whole.
    """

    def __init__(self, amount: float) -> None:
        super().__init__(amount)
        self.masks: dict[str, Tensor] = {}

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module:
        """Return `model` as it is: zeros change no shape."""
        return model

    def reopen(self, model: nn.Module) -> nn.Module:
        """Return `model` as it is; its zeros may change from now on."""
        self.masks = {}
        return model

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Set the removed weights to zero again."""
        apply(self.masks, model)

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate; in averaged weights, the removed ones are zero as well."""
        apply(self.masks, model)
        return super().finish(model, calibration)

    def state(self) -> dict[str, Any]:
        """Return the masks."""
        return {**super().state(), "masks": self.masks}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` as it is; the masks are applied after its next step."""
        self.masks = dict(state["masks"])
        return super().restore(model, state)


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of linear, convolutional, recurrent and attention layers by name, a shared one once; no biases."""
    found: dict[int, tuple[str, Tensor]] = {}
    for path, module in model.named_modules():
        if isinstance(module, LAYERS):
            for name, weight in module.named_parameters(path, recurse=False):
                if weight.ndim > 1:
                    found.setdefault(id(weight), (name, weight))
    return dict(found.values())


def apply(masks: Mapping[str, Tensor], model: nn.Module) -> None:
    """Set the weights that the masks remove to zero, in place."""
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask.to(model.get_parameter(name).device))


def smallest_removed(scores: Mapping[str, Tensor], amount: float) -> dict[str, Tensor]:
    """Return masks that remove exactly the share `amount` of all numbers together, those with the smallest scores.

    Of equal scores, the later ones in the order of `scores` stay.
    """
    flat = torch.cat([score.flatten().cpu() for score in scores.values()])
    stays = torch.ones(len(flat), dtype=torch.bool)
    stays[flat.argsort(stable=True)[: int(amount * len(flat))]] = False
    parts = stays.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
