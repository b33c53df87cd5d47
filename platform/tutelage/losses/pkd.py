"""Correlation of features: each channel of the student's follows the teacher's, whatever its scale (PKD; Cao et al., 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.losses import Loss, on_grid_of, paired, position_mask, real_steps
from tutelage.losses._vectors import adapted, precise
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"stages": {"int": [1, 2]}}
NEEDS: frozenset[Need] = frozenset({"features"})


class Config(PluginConfig):
    """The stages that are compared."""

    stages: int = Field(1, ge=1, le=64, description="last stages that are compared, paired by depth")


class Correlation(nn.Module):
    """1 - r, where r is the Pearson correlation of a channel over batch and positions; the mean over channels and stages.

    This is half the mean squared difference of features that are standardised channel by channel. It is in [0, 2] for any
    number of positions and channels, and does not change if a channel of either network is scaled or shifted. If channels
    differ in number, a linear adapter stands between; if grids differ, the teacher's features are resampled to the student's.
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.pairs = pairs
        self.adapters = nn.ModuleList(
            nn.Identity() if own.channels == other.channels else nn.Linear(own.channels, other.channels) for own, other in pairs
        )

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        apart = []
        for (own, other), adapter in zip(self.pairs, self.adapters, strict=True):
            features = precise(student.features[own.name])
            target = on_grid_of(precise(teacher.features[other.name]), teacher, other, own, features.shape[1])
            mask = position_mask(teacher, own, features.shape[1])
            compared = (standardised(real_steps(one, mask)) for one in (adapted(adapter, features), target))
            apart.append((next(compared) - next(compared)).square().mean() / 2)
        return torch.stack(apart).mean()


def standardised(features: Tensor) -> Tensor:
    """Return features `[n, channels]` with mean 0 and deviation 1 in every channel; a channel of equal values is 0."""
    centred = features - features.mean(dim=0)
    variance = centred.square().mean(dim=0)
    limits = torch.finfo(features.dtype)
    rounding = (8 * limits.eps) ** 2 * features.detach().square().mean(dim=0)
    return centred * variance.where(variance > rounding + limits.tiny**0.5, 1.0).rsqrt()


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    return Correlation(paired(student, teacher, "pkd")[-config.stages :])
