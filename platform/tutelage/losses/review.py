"""ReviewKD: each student stage, fused with the deeper ones, matches the teacher's (Chen, Liu, Zhao and Jia, 2021)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.losses import Loss, grid_of, on_grid_of, paired, position_mask
from tutelage.losses._grids import as_image, regridded_features, restepped
from tutelage.losses._vectors import relative
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"channels": {"int": [16, 128], "log": True}}
NEEDS: frozenset[Need] = frozenset({"features"})
SIDES = (4, 2, 1)  # of the pooled maps, in positions


class Config(PluginConfig):
    """The width of the fusion."""

    channels: int = Field(64, ge=1, le=4096, description="channels in which stages are fused")


class Fusion(nn.Module):
    """Attention-based fusion of a stage with the deeper ones, and its projection to the teacher's channels.

    The stage, reduced to `channels`, and the deeper stages' fusion, interpolated to the stage's grid, are added with two
    weights a position, which are sigmoids of a linear map of both (section 3.3 of the paper).
    """

    def __init__(self, own: Stage, other: Stage, channels: int, *, is_deepest: bool) -> None:
        super().__init__()
        self.reduce = nn.Linear(own.channels, channels)
        self.mix = None if is_deepest else nn.Linear(2 * channels, 2)
        self.view = nn.Conv2d(channels, other.channels, 3, padding=1)

    def forward(
        self, features: Tensor, deeper: Tensor | None, mask: Tensor | None, grid: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return the fused features `[batch, positions, channels]` and their projection to the teacher's channels."""
        fused: Tensor = self.reduce(features)
        if self.mix is not None and deeper is not None:
            shares = torch.sigmoid(self.mix(torch.cat([fused, deeper], dim=-1)))
            fused = fused * shares[..., :1] + deeper * shares[..., 1:]
        fused = _masked(fused, mask)
        view = self.view(fused.transpose(1, 2).unflatten(2, as_image(grid)))
        return fused, view.flatten(2).transpose(1, 2)


class Review(nn.Module):
    """The mean over stages of the hierarchical context loss, divided by the mean square of the teacher's features.

    From the deepest stage to the shallowest, each stage is fused with the deeper ones and compared with the teacher's on its
    own grid. Its loss is a weighted mean of mean squared differences: on the full grid with weight 1, and pooled to 4, 2 and 1
    positions a side, where that is coarser, each with half of the weight before. The paper's batch norms are omitted, because
    padding would change their statistics. If positions are steps, only real steps are compared, on the full grid.
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]], channels: int) -> None:
        super().__init__()
        self.pairs = pairs[::-1]
        self.fusions = nn.ModuleList(
            Fusion(own, other, channels, is_deepest=number == 0) for number, (own, other) in enumerate(self.pairs)
        )

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        precision = next(self.parameters()).dtype
        deeper, before, losses = None, self.pairs[0][0], list[Tensor]()
        for (own, other), fusion in zip(self.pairs, self.fusions, strict=True):
            positions = student.features[own.name].shape[1]
            grid, mask = grid_of(own, positions), position_mask(teacher, own, positions)
            features = _masked(student.features[own.name].to(precision), mask)
            fused = None if deeper is None else _at(deeper, before, own, positions, teacher)
            deeper, view = fusion(features, fused, mask, grid)
            target = on_grid_of(teacher.features[other.name].to(precision), teacher, other, own, positions)
            before = own
            compared = target if mask is None else target[mask]
            distance = _context(view, target, grid) if mask is None else functional.mse_loss(view[mask], compared)
            losses.append(relative(distance, compared.square().mean()))
        return torch.stack(losses).mean()


def _at(features: Tensor, deeper: Stage, own: Stage, positions: int, teacher: Output) -> Tensor:
    """Return the fusion of the deeper stages at the positions of a stage."""
    if own.has_steps and deeper.has_steps:
        return restepped(features, position_mask(teacher, deeper, features.shape[1]), positions)
    return regridded_features(features, grid_of(deeper, features.shape[1]), grid_of(own, positions))


def _masked(features: Tensor, mask: Tensor | None) -> Tensor:
    return features if mask is None else torch.where(mask.unsqueeze(-1), features, 0)


def _context(view: Tensor, target: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the hierarchical context loss of `[batch, positions, channels]` on a grid."""
    difference = view - target  # pooling is linear: pooled features differ by the pooled difference
    total, weight, weights = functional.mse_loss(view, target), 1.0, 1.0
    for side in SIDES:
        if side < min(as_image(grid)):
            weight /= 2
            pooled = regridded_features(difference, grid, (side, side))
            total, weights = total + weight * pooled.square().mean(), weights + weight
    return total / weights


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for networks without stages, or without stages of several positions."""
    pairs = [(own, other) for own, other in paired(student, teacher, "review") if own.positions > 1 < other.positions]
    if not pairs:
        raise InputError("loss 'review' needs stages of several positions; a perceptron has one. Use kd, fitnet or crd.")
    return Review(pairs, config.channels)
