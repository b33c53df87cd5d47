"""Hints: the student's features match the teacher's through a linear adapter (FitNets; Romero et al., 2015)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from tutelage.losses import Loss, on_grid_of, paired, position_mask, real_steps
from tutelage.losses._vectors import relative
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"depth": {"float": [0.3, 1.0]}}
NEEDS: frozenset[Need] = frozenset({"features"})


class Config(PluginConfig):
    """The pair of stages that is compared."""

    depth: float = Field(0.67, ge=0, le=1, description="relative depth of the compared stage: 0 the first, 1 the last")


class Hint(nn.Module):
    """Mean over batch, positions and channels of (adapter(f_s) - f_t)², over the mean square of f_t.

    The adapter is linear over the channels of each position (a 1×1 convolution). Because of the denominator, the loss is the
    unexplained share of the teacher's features, about 1 at the start for any network. If grids differ, the teacher's features
    are resampled to the student's grid. A teacher's features that are all 0 have no denominator.
    """

    def __init__(self, own: Stage, other: Stage) -> None:
        super().__init__()
        self.own, self.other = own, other
        self.adapter = nn.Linear(own.channels, other.channels)

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        precision = self.adapter.weight.dtype
        own, features = student.features[self.own.name], teacher.features[self.other.name].to(precision)
        target = on_grid_of(features, teacher, self.other, self.own, own.shape[1])
        mask = position_mask(teacher, self.own, target.shape[1])
        target, own = (real_steps(tensor, mask) for tensor in (target, own))
        adapted: Tensor = self.adapter(own.to(precision))
        return relative((adapted - target).square().mean(), target.square().mean())


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    pairs = paired(student, teacher, "fitnet")
    return Hint(*pairs[round(config.depth * (len(pairs) - 1))])
