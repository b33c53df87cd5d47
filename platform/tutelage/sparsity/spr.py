"""Structured sparsity-inducing regularisation: training under L1, L2 and group penalties, then removal of weak channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.sparsity import Calibration, Method, channels
from tutelage.sparsity._allocation import NETWORK_ALLOCATION
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES, recalibrate
from tutelage.sparsity._coupled import CoupledGroup
from tutelage.sparsity._masks import matrices
from tutelage.sparsity._penalised_parts import PenalisedParts, replayed
from tutelage.sparsity._tracing import groups

KIND = "structure"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {
    "group": {"float": [0.1, 1.5], "log": True},
    "threshold": {"float": [0.05, 0.9]},
}


class Config(channels.Config):
    """Strengths of the penalties, and which channels are removed after them."""

    allocation: Literal["uniform", "network", "sensitivity"] = Field("network", description=NETWORK_ALLOCATION)
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
    heads: float = Field(
        0.0,
        ge=0,
        description="the same penalty on attention heads, in mean norms of their attention's heads; at most the share "
        "sparsity.amount of the heads is removed: those that became zero, or fell below a threshold",
    )
    blocks: float = Field(
        0.0,
        ge=0,
        description="the same penalty on residual blocks, in the block's own norm; at most the share sparsity.amount of the "
        "blocks is removed: those that became zero",
    )

    @property
    def is_presized(self) -> bool:
        """Whether the widths, heads and blocks are known before training."""
        return super().is_presized and not self.heads and not self.blocks


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
    norms are then measured again. Frozen parameters stay as they are. An attention head counts as a channel of its attention; a
    whole block has its own norm as b.
    """

    _config: Config

    @property
    def made(self) -> str:
        """The removed channels, and the rounding of their number."""
        return f"channels{self._parts.description} that the penalties made small{self.allocated}{self.rounded}"

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._groups: list[CoupledGroup] = []
        self._parts = PenalisedParts(config.heads, config.blocks)
        self._scales, self._means, self._rates = list[Tensor](), dict[str, Tensor](), 1.0
        self._has_rungs = False

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is; its coupled channels are found. Raises what `Channels.start` raises."""
        super().start(model, calibration)
        self._rates = calibration.rates
        self._means = {name: weight.detach().abs().mean() for name, weight in matrices(model).items()}
        if self._config.group > 0.0:
            self._groups = groups(model, calibration.arguments)
            self._scales = [self._config.group * group.norms(model).mean() for group in self._groups]
        for group, scale in self._parts.terms(model, calibration.arguments):
            self._groups.append(group)
            self._scales.append(scale)
        return model

    def limited(self, model: nn.Module, calibration: Calibration) -> list[set[str]]:
        """Return the coupled layers for which options may be given; attentions with a penalty have thresholds as well."""
        return [*super().limited(model, calibration), *self._parts.names(model, calibration.arguments)]

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
        """Return `model` without heads, blocks and channels that became weak, in place; its batch norms are measured again."""
        config = self._config
        model = self._parts.cut(model, calibration.arguments, self.amount, config.amounts, config.thresholds, config.threshold)
        smaller = super().cut(model, calibration)
        if not self._has_rungs:
            recalibrate(smaller, calibration.batches(RECALIBRATION_BATCHES))
        return smaller

    def for_ladder(self) -> Method:
        """Return the method itself; the ladder measures batch norms after each removal."""
        self._has_rungs = True
        return super().for_ladder()

    def sandwich(self, amounts: Sequence[float], recovery_epochs: int) -> Method:
        """Return the ladder. Raises `InputError` for penalties of heads or blocks as well."""
        if self._parts.are_penalised:
            return Method.sandwich(self, amounts, recovery_epochs)
        return super().sandwich(amounts, recovery_epochs)

    def surgery(self) -> Mapping[str, Any] | None:
        """Return the heads and blocks that were removed; None if there are none."""
        return self._parts.surgery()

    def state(self) -> dict[str, Any]:
        """Return the base's state, and the heads and blocks that were removed."""
        return {**super().state(), **({"parts": self._parts.state()} if self._parts.are_penalised else {})}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` without the heads and blocks that were removed."""
        restored = super().restore(model, state)
        return self._parts.restore(restored, state["parts"]) if self._parts.are_penalised else restored

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model` without the heads and blocks that were removed."""
        return replayed(model, surgery)
