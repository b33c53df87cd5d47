"""The student's stages, each reviewed with the deeper ones, are its teacher's (ReviewKD; Chen, Liu, Zhao and Jia, 2021)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.losses import Loss, paired, position_mask, without_padding
from tutelage.losses._grids import as_image, regridded_features
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"channels": {"int": [16, 128], "log": True}}
NEEDS: frozenset[Need] = frozenset({"features"})
SIDES = (4, 2, 1)  # that maps are pooled to


class Config(PluginConfig):
    """How wide the fusion is."""

    channels: int = Field(64, ge=1, le=4096, description="channels in which stages are fused")


class Fusion(nn.Module):
    """Attention-based fusion of a stage with what came from the deeper ones, and a view of it in the teacher's channels.

    The stage, in `channels`, and the deeper one's residual, interpolated to its grid, are mixed with two weights a position,
    sigmoids of both (section 3.3 of the paper).
    """

    def __init__(self, own: Stage, other: Stage, channels: int, *, is_deepest: bool) -> None:
        super().__init__()
        self.reduce = nn.Linear(own.channels, channels)
        self.mix = None if is_deepest else nn.Linear(2 * channels, 2)
        self.view = nn.Conv2d(channels, other.channels, 3, padding=1)

    def forward(
        self, features: Tensor, deeper: Tensor | None, mask: Tensor | None, grid: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Return the fused features `[batch, positions, channels]`, for the next stage, and their view as the teacher's."""
        fused: Tensor = self.reduce(features)
        if self.mix is not None and deeper is not None:
            shares = torch.sigmoid(self.mix(torch.cat([fused, deeper], dim=-1)))
            fused = fused * shares[..., :1] + deeper * shares[..., 1:]
        fused = _kept(fused, mask)
        view = self.view(fused.transpose(1, 2).unflatten(2, as_image(grid)))
        return fused, view.flatten(2).transpose(1, 2)


class Review(nn.Module):
    """The mean over stages of the hierarchical context loss, in shares of the mean square of the teacher's features.

    From the deepest stage to the shallowest, each is fused with the deeper ones and compared with its teacher's on its own
    grid: the mean squared differences as a whole and pooled to 4, 2 and 1 positions a side, where that is coarser. Each counts
    half of the one before, over the sum of what they count. The paper's batch norms are left out: they would let padding
    change what is compared. Of stages whose positions are steps, those that are no padding are compared, as a whole.
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
        deeper, before, losses = None, tuple[int, ...](), list[Tensor]()
        for (own, other), fusion in zip(self.pairs, self.fusions, strict=True):
            grid, mask = _grid(own, student, teacher), position_mask(teacher, student.features[own.name].shape[1])
            features = _kept(student.features[own.name].to(precision), mask)
            deeper, view = fusion(features, None if deeper is None else regridded_features(deeper, before, grid), mask, grid)
            known = without_padding(teacher.features[other.name].to(precision), teacher)
            target = regridded_features(known, _grid(other, teacher, teacher), grid)
            before = grid
            whole = target if mask is None else target[mask]
            apart = _context(view, target, grid) if mask is None else functional.mse_loss(view[mask], whole)
            losses.append(apart / whole.square().mean().clamp(min=torch.finfo(torch.float32).tiny))
        return torch.stack(losses).mean()


def _grid(stage: Stage, output: Output, teacher: Output) -> tuple[int, ...]:
    """Return the grid of a stage in this batch: one row of positions that are steps, as many as the longest example has."""
    positions = output.features[stage.name].shape[1]
    is_steps = position_mask(teacher, positions) is not None or positions != stage.positions
    return (1, positions) if is_steps else stage.grid


def _kept(features: Tensor, mask: Tensor | None) -> Tensor:
    return features if mask is None else torch.where(mask.unsqueeze(-1), features, 0)


def _context(view: Tensor, target: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return the hierarchical context loss of `[batch, positions, channels]` on a grid."""
    apart = view - target  # averages over positions are linear: what is pooled is the difference
    total, share, counted = functional.mse_loss(view, target), 1.0, 1.0
    for side in SIDES:
        if side < min(as_image(grid)):
            share /= 2
            total, counted = total + share * regridded_features(apart, grid, (side, side)).square().mean(), counted + share
    return total / counted


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` for a network without stages, or whose stages have one position only."""
    pairs = [(own, other) for own, other in paired(student, teacher, "review") if own.positions > 1 < other.positions]
    if not pairs:
        raise InputError("loss 'review' needs stages of several positions; a perceptron has one. Use kd, fitnet or crd.")
    return Review(pairs, config.channels)
