"""Structured sparsity-inducing regularisation: trained under L1, L2 and group penalties; then weak channels are removed."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.sparsity import Calibration, Method, channels
from tutelage.sparsity._batch_norm import recalibrate
from tutelage.sparsity._coupled import CoupledGroup
from tutelage.sparsity._masks import matrices

KIND = "structure"  # what `composed` goes by
SPACE: dict[str, dict[str, object]] = {
    "group": {"float": [1e-4, 1e-1], "log": True},
    "threshold": {"float": [0.05, 0.9]},
}
RECALIBRATION_BATCHES = 32


class Config(channels.Config):
    """Strengths of the penalties, and which channels are removed after them."""

    uniform: bool = Field(False, description="take the same share of every layer; if false, the weakest of the network")
    l1: float = Field(0.0, ge=0, description="L1 penalty of a weight, which sets single weights to zero")
    l2: float = Field(0.0, ge=0, description="L2 penalty of a weight, which makes all weights small")
    group: float = Field(
        1e-2, ge=0, description="group penalty: of the norm of all weights coupled to a channel, times the root of their number"
    )


def build(config: Config, amount: float) -> Method:
    """Return the method that removes at most the share `amount` (0 to 0.95) of the hidden channels."""
    return Regularised(config, amount)


class Regularised(channels.Channels):
    """Proximal steps after those of the optimiser, so that zeros are exact (Yuan and Lin, 2006; Parikh and Boyd, 2014).

    With the learning rate r, a weight w becomes sign(w) · max(|w| - r · l1, 0) / (1 + r · l2), and the weights of a channel
    with the norm v are multiplied by max(0, 1 - r · group · √size / v). The removal ends the penalties; afterwards batch norms
    are measured again.
    """

    _config: Config

    @property
    def made(self) -> str:
        """What went, and what rounding made of its number."""
        return f"channels that the penalties made small{self.rounded}"

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._groups: list[CoupledGroup] = []
        self._scales: list[Tensor] = []

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is; its coupled channels are found. Raises what `Channels.start` raises."""
        super().start(model, calibration)
        if self._config.group > 0.0:
            self._groups = channels.groups(model, calibration.arguments)
            self._scales = [self._config.group * group.sizes(model).sqrt() for group in self._groups]
        return model

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Make the proximal step of a learning rate; none after the removal."""
        if self.is_cut:
            return
        with torch.no_grad():
            if self._config.l1 or self._config.l2:
                for weight in matrices(model).values():
                    shrunk = weight.sign() * (weight.abs() - rate * self._config.l1).clamp(min=0.0)
                    weight.copy_(shrunk / (1.0 + rate * self._config.l2))
            for group, scale in zip(self._groups, self._scales, strict=True):
                norms = group.norms(model)
                left = 1.0 - rate * scale.to(norms.device) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
                group.scale(model, left.clamp(min=0.0))

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weak channels removed, in place, and its batch norms measured again."""
        smaller = super().cut(model, calibration)
        recalibrate(smaller, calibration.batches(RECALIBRATION_BATCHES))
        return smaller
