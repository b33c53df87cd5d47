"""Hidden states of all layers, each matched with the teacher's at its relative depth (after TinyBERT; Jiao et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.losses import Loss, on_grid_of, paired, position_mask, real_steps
from tutelage.losses._vectors import relative
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
NEEDS: frozenset[Need] = frozenset({"features"})


class Config(PluginConfig):
    """All stages are compared; there are no options."""


@dataclass(frozen=True)
class Between:
    """A place among a network's stages: the features of `before`, and of `after` with this `share`."""

    before: Stage
    after: Stage
    share: float

    def features(self, output: Output) -> Tensor:
        """Return the features `[batch, positions, channels]` at this place."""
        first = output.features[self.before.name]
        return first if self.share == 0.0 else torch.lerp(first, output.features[self.after.name], self.share)


class Hidden(nn.Module):
    """The mean over the student's stages of the mean of (adapter(f_s) - f_t)², over the mean square of f_t.

    Stage m of the student's M is compared with the place m · N / M among the teacher's N stages. Between two stages, f_t is
    their linear interpolation: 12 and 5 stages give 2.4, 4.8, 7.2, 9.6 and 12. In TinyBERT N is a multiple of M, so that no
    place is between stages. Places before the first stage are that stage. Two stages of different shapes, as in most networks
    of images, are not interpolated: the nearer one counts, and of two equally near ones the deeper.

    Each stage has a linear adapter over the channels (TinyBERT's stages share one). Because of the denominator, each stage's
    loss is the unexplained share of the teacher's features, about 1 at the start. If grids differ, the teacher's features are
    resampled to the student's grid. Padding is excluded.
    """

    def __init__(self, places: list[tuple[Stage, Between]]) -> None:
        super().__init__()
        self.places = places
        self.adapters = nn.ModuleList(nn.Linear(own.channels, place.after.channels) for own, place in places)

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        losses = [
            _unexplained(adapter, student.features[own.name], own, place, teacher)
            for (own, place), adapter in zip(self.places, self.adapters, strict=True)
        ]
        return torch.stack(losses).mean()


def _unexplained(adapter: nn.Module, features: Tensor, own: Stage, place: Between, teacher: Output) -> Tensor:
    """Return the share of the teacher's features at a place that the adapted features of a stage leave unexplained."""
    precision = next(adapter.parameters()).dtype
    target = on_grid_of(place.features(teacher).to(precision), teacher, place.after, own, features.shape[1])
    mask = position_mask(teacher, own, features.shape[1])
    target, compared = (real_steps(tensor, mask) for tensor in (target, features))
    return relative((adapter(compared.to(precision)) - target).square().mean(), target.square().mean())


def place_of(number: int, count: int, stages: tuple[Stage, ...]) -> Between:
    """Return the place among `stages` of stage `number` (from 1) of `count`."""
    depth = max(1.0, number * len(stages) / count)
    before, after = stages[int(depth) - 1], stages[min(int(depth), len(stages) - 1)]
    share = depth - int(depth)
    if _shape(before) != _shape(after):
        before = after = after if share >= 0.5 else before
    return Between(before, after if share else before, share if before is not after else 0.0)


def _shape(stage: Stage) -> tuple[object, ...]:
    return stage.grid, stage.channels, stage.has_steps


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    paired(student, teacher, "hidden")
    count = len(student.stages)
    return Hidden([(own, place_of(number, count, teacher.stages)) for number, own in enumerate(student.stages, start=1)])
