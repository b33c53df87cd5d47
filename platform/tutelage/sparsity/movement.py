"""Movement pruning: the weights that training moves towards zero become zero (Sanh, Wolf and Rush, 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.sparsity import Calibration, Method, Point, magnitude
from tutelage.sparsity._masks import Masked, matrices

KIND = "unstructured"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"scope": {"choice": ["network", "layer"]}}


class Config(magnitude.Config):
    """Which weights are compared with each other, and in which part of the training they become zero."""


def build(config: Config, amount: float) -> Method:
    """Return the method that sets the share `amount` (0 to 0.95) of the weights to zero."""
    return Movement(config, amount)


class Movement(magnitude.Magnitude):
    """Removes weights by the cubic schedule of `magnitude`, those with the smallest sums of -w · ∂L/∂w over all steps so far.

    The sum is large for a weight that its gradient moves away from zero, however small it still is. The sum of a removed weight
    stays as it is; at a later time of the schedule the weight may return, from zero. After the last time, none changes.
    """

    made = "weights that moved towards zero set to zero"

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._sums, self._before = dict[str, Tensor](), dict[str, Tensor]()

    def penalty(self, model: nn.Module) -> None:
        """Return nothing; store the weights at which this step's gradients are taken."""
        self._before = {name: weight.detach().clone() for name, weight in matrices(model).items()}

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Add this step's products to the sums, and continue as `magnitude` does."""
        for name, before in self._before.items():
            gradient = model.get_parameter(name).grad
            if gradient is not None:
                own = self._sums.get(name)
                self._sums[name] = (0.0 if own is None else own.to(before.device)) - before * gradient
        self._before = {}
        super().after_step(model, rate)

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the sums of all weights by name, 0 for weights that had no gradient; absolute values before the first step."""
        if not self._sums:
            return super().scores(model)
        found = matrices(model)
        return {name: self._sums.get(name, torch.zeros_like(weight, device="cpu")).cpu() for name, weight in found.items()}

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate; if the training ended before the schedule, the remaining weights are removed now."""
        is_over = self._step >= max(self._amounts, default=1)
        return Masked.finish(self, model, calibration) if is_over else super().finish(model, calibration)

    def state(self) -> dict[str, Any]:
        """Return the masks, the number of steps and the sums."""
        return {**super().state(), "sums": dict(self._sums)}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` as it is; the sums continue after the step of `state`."""
        self._sums = dict(state["sums"])
        return super().restore(model, state)
