"""Structured sparsity-inducing regularisation: training under L1, L2 and group penalties, then removal of weak channels."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.sparsity import Calibration, Method, channels
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES, recalibrate
from tutelage.sparsity._coupled import CoupledGroup
from tutelage.sparsity._masks import matrices
from tutelage.sparsity._tracing import groups

KIND = "structure"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {
    "group": {"float": [0.1, 1.5], "log": True},
    "threshold": {"float": [0.05, 0.9]},
}


class Config(channels.Config):
    """Strengths of the penalties, and which channels are removed after them."""

    allocation: Literal["uniform", "network", "sensitivity"] = Field("network", description=channels.ALLOCATION)
    l1: float = Field(
        0.0,
        ge=0,
        description="L1 penalty: the decrease of a weight without gradient over the training, in mean weights of its layer",
    )
    l2: float = Field(0.0, ge=0, description="L2 penalty: the logarithm of the factor by which all weights become smaller")
    group: float = Field(
        0.5,
        ge=0,
        description="group penalty: the decrease of a channel's norm without gradients over the training, in mean norms of "
        "its layer's channels; the norm is of all weights coupled to the channel",
    )


def build(config: Config, amount: float) -> Method:
    """Return the method that removes at most the share `amount` (0 to 0.95) of the hidden channels."""
    return Regularised(config, amount)


class Regularised(channels.Channels):
    """Proximal steps after those of the optimiser, so that zeros are exact (Yuan and Lin, 2006; Parikh and Boyd, 2014).

    A step with the learning rate r takes the share s = r / R of a penalty, where R is the sum of all rates before the removal.
    A weight w becomes sign(w) · max(|w| - s · l1 · a, 0) / (1 + s · l2), where a is the mean |w| of its matrix at the start.
    The weights of a channel with the norm v are multiplied by max(0, 1 - s · group · b / v), where b is the mean norm of the
    layer's channels at the start; b grows with the root of the group's size, by which Yuan and Lin weigh groups. So a strength
    means the same for each learning rate, number of steps and initial scale. The penalties end with the removal; batch
    norms are then measured again. Frozen parameters stay as they are.
    """

    _config: Config

    @property
    def made(self) -> str:
        """The removed channels, and the rounding of their number."""
        return f"channels that the penalties made small{self.allocated}{self.rounded}"

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._groups: list[CoupledGroup] = []
        self._scales, self._means, self._rates = list[Tensor](), dict[str, Tensor](), 1.0

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is; its coupled channels are found. Raises what `Channels.start` raises."""
        super().start(model, calibration)
        self._rates = calibration.rates
        self._means = {name: weight.detach().abs().mean() for name, weight in matrices(model).items()}
        if self._config.group > 0.0:
            self._groups = groups(model, calibration.arguments)
            self._scales = [self._config.group * group.norms(model).mean() for group in self._groups]
        return model

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Make the proximal step of a learning rate; none after the removal."""
        if self.is_cut:
            return
        share = rate / self._rates
        with torch.no_grad():
            if self._config.l1 or self._config.l2:
                for name, weight in matrices(model).items():
                    if not weight.requires_grad:
                        continue
                    less = share * self._config.l1 * self._means[name].to(weight.device)
                    shrunk = weight.sign() * (weight.abs() - less).clamp(min=0.0)
                    weight.copy_(shrunk / (1.0 + share * self._config.l2))
            for group, scale in zip(self._groups, self._scales, strict=True):
                norms = group.norms(model)
                left = 1.0 - share * scale.to(norms.device) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
                group.scale(model, left.clamp(min=0.0))

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weak channels removed, in place, and its batch norms measured again."""
        smaller = super().cut(model, calibration)
        recalibrate(smaller, calibration.batches(RECALIBRATION_BATCHES))
        return smaller
