"""Foreground-weighted features: those at objects and those of the background are matched apart (FGD; Yang et al., 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.losses import Loss, grid_of, on_grid_of, paired, position_mask
from tutelage.losses._grids import as_image
from tutelage.losses._vectors import adapted, precise, relative
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"foreground": {"float": [0.3, 0.9]}}
NEEDS: frozenset[Need] = frozenset({"features"})
ATTENTION_TEMPERATURE = 0.5  # the published one


class Config(PluginConfig):
    """The stages that are compared, and the weights of the terms."""

    stages: int = Field(1, ge=1, le=64, description="last stages that are compared, paired by depth")
    foreground: float = Field(0.67, ge=0, le=1, description="weight of the positions at objects; the others have the rest")
    attention: float = Field(0.33, ge=0, le=100, description="weight of the attention maps' distance")


class Focal(nn.Module):
    """f · E(objects) + (1 - f) · E(background) + a · D, the mean over the stages; E is 1 for a student whose features are 0.

    E is Σ w S C (f_s - f_t)² / Σ w S C f_t² over positions and channels of the batch. At objects, w is 1 / the number of the
    object's positions, the largest where objects overlap, so that all objects count alike; in the background it is 1 / the
    number of its positions in an image. S and C are the teacher's attention: softmax(mean |f_t| / 0.5), over positions and over
    channels, with mean 1. D is the mean absolute difference of the student's S and C from these. So no term depends on the
    number of positions or channels. A linear adapter stands between the networks; the term of global relations is left out.
    """

    def __init__(self, config: Config, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.config, self.pairs = config, pairs
        self.adapters = nn.ModuleList(nn.Linear(own.channels, other.channels) for own, other in pairs)

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        found = []
        for (own, other), adapter in zip(self.pairs, self.adapters, strict=True):
            features = precise(student.features[own.name])
            target = on_grid_of(precise(teacher.features[other.name]), teacher, other, own, features.shape[1])
            mask = position_mask(teacher, own, features.shape[1])
            real = target.new_ones(target.shape[:2], dtype=torch.bool) if mask is None else mask
            mine = adapted(adapter, features.where(real.unsqueeze(-1), 0.0)).where(real.unsqueeze(-1), 0.0)
            weights = region_weights(teacher.regions, as_image(grid_of(own, features.shape[1])), real)
            found.append(self._distance(mine, target, weights, real))
        return torch.stack(found).mean()

    def _distance(self, own: Tensor, target: Tensor, weights: tuple[Tensor, Tensor], real: Tensor) -> Tensor:
        (spatial, channels), mine = attention(target, real), attention(own, real)
        counted = channels.unsqueeze(1)
        error, size = (spatial * (counted * one.square()).mean(dim=-1) for one in (own - target, target))
        objects, background = (relative((w * error).sum(), (w * size).sum()) for w in weights)
        apart = (mine[0] - spatial).abs().sum() / real.sum().clamp(min=1) + (mine[1] - channels).abs().mean()
        share = self.config.foreground
        return share * objects + (1 - share) * background + self.config.attention * apart


def attention(features: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention, of mean 1, over positions `[batch, positions]` and channels `[batch, channels]`; 0 at padding."""
    sizes, counts = features.abs(), real.sum(dim=1, keepdim=True).clamp(min=1)
    by_position = (sizes.mean(dim=-1) / ATTENTION_TEMPERATURE).masked_fill(~real, -torch.inf)
    by_position = by_position.where(real.any(dim=1, keepdim=True), 0.0)
    by_channel = sizes.sum(dim=1) / counts / ATTENTION_TEMPERATURE
    return counts * by_position.softmax(dim=1).where(real, 0.0), features.shape[-1] * by_channel.softmax(dim=1)


def region_weights(regions: Tensor | None, grid: tuple[int, int], real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights `[batch, positions]` of the foreground and of the background, as `Focal` states them.

    `regions` `[batch, regions, 4]` are shares of the input's width and height, of no area where there is none; a position
    belongs to all regions that touch it.
    """
    if regions is None:
        return torch.zeros_like(real, dtype=torch.float32), real / real.sum(dim=1, keepdim=True).clamp(min=1)
    inside = [_touched(regions[..., [axis, axis + 2]], cells) for axis, cells in ((1, grid[0]), (0, grid[1]))]
    has_area = (regions[..., 2:] > regions[..., :2]).all(dim=-1)
    touched = (inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)).flatten(2) & has_area.unsqueeze(-1) & real.unsqueeze(1)
    shares = touched / touched.sum(dim=-1, keepdim=True).clamp(min=1)
    objects = torch.cat([shares, shares.new_zeros(len(real), 1, real.shape[1])], dim=1).amax(dim=1)
    rest = real & ~touched.any(dim=1)
    return objects, rest / rest.sum(dim=1, keepdim=True).clamp(min=1)


def _touched(ends: Tensor, cells: int) -> Tensor:
    """Return booleans `[batch, regions, cells]`, True for cells of an axis that the interval `ends` `[…, 2]` touches."""
    places = torch.arange(cells, device=ends.device)
    return (places >= (ends[..., :1] * cells).floor()) & (places < (ends[..., 1:] * cells).ceil())


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    return Focal(config, paired(student, teacher, "fgd")[-config.stages :])
