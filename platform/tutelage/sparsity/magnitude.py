"""Unstructured sparsity: the smallest weights become zero, more of them step by step (Zhu and Gupta, 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from tutelage.plugins import PluginConfig
from tutelage.sparsity import Calibration, Method, Point
from tutelage.sparsity._masks import Masked, apply, matrices, smallest_removed

KIND = "unstructured"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"scope": {"choice": ["network", "layer"]}}


class Config(PluginConfig):
    """Which weights are compared with each other, and in which part of the training they become zero."""

    scope: Literal["network", "layer"] = Field(
        "network", description="network: the smallest weights of all layers; layer: the same share of every layer"
    )
    first: float = Field(0.2, ge=0.0, lt=1.0, description="share of the steps after which the first weights become zero")
    last: float = Field(0.7, gt=0.0, le=1.0, description="share of the steps after which no further weights become zero")
    times: int = Field(20, ge=1, le=10_000, description="number of times that further weights become zero")

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        if self.first >= self.last:
            raise ValueError(f"first {self.first:g} is not below last {self.last:g}")
        return self


def build(config: Config, amount: float) -> Method:
    """Return the method that sets the share `amount` (0 to 0.95) of the weights to zero."""
    return Magnitude(config, amount)


class Magnitude(Masked):
    """Removes weights at `times` steps, by the cubic schedule: fast at first, slowly at the end.

    The bytes and MACs of a dense format stay as they are; the zeros are counted by `nonzero_params`.
    """

    made = "smallest weights set to zero"

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(amount)
        self._config, self._step, self._amounts, self._is_gradual = config, 0, dict[int, float](), True

    def for_ladder(self) -> Method:
        """Return the method without its schedule: the weights of a rung become zero at once."""
        self._is_gradual = False
        return self

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is; the schedule gets the number of steps from `calibration`."""
        self._amounts = cubic(self._config, self.amount, calibration.steps) if self._is_gradual else {}
        return model

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Set further weights to zero if this step is one of the schedule; those of earlier steps stay zero."""
        self._step += 1
        if self._step in self._amounts:
            self._remove(model, self._amounts[self._step])
        apply(self.masks, model)

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with the share set to zero, in place; only a ladder calls this."""
        self._remove(model, self.amount)
        apply(self.masks, model)
        return model

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate, with exactly the amount removed."""
        apply(self.masks, model)
        self._remove(model, self.amount)
        return super().finish(model, calibration)

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the importance of each weight by name: its absolute value."""
        return {name: weight.detach().abs() for name, weight in matrices(model).items()}

    def _remove(self, model: nn.Module, amount: float) -> None:
        scores = self.scores(model)
        groups = [scores] if self._config.scope == "network" else [{name: score} for name, score in scores.items()]
        self.masks = {name: mask for group in groups for name, mask in smallest_removed(group, amount).items()}

    def state(self) -> dict[str, Any]:
        """Return the masks and the number of steps."""
        return {**super().state(), "step": self._step}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` as it is; the schedule continues after the step of `state`."""
        self._step = int(state["step"])
        return super().restore(model, state)


def cubic(config: Config, amount: float, steps: int) -> dict[int, float]:
    """Return the share of weights that is zero from each step of the schedule on; the first step is 1.

    amount · (1 - (1 - t)³), with t from 0 at the share `first` of the steps to 1 at the share `last`.
    """
    first, last = config.first * steps, config.last * steps
    found: dict[int, float] = {}
    for one in range(1, config.times + 1):
        progress = one / config.times
        found[max(1, round(first + progress * (last - first)))] = amount * (1.0 - (1.0 - progress) ** 3)
    return found
