"""Similarity-preserving distillation: both networks find the same examples similar (Tung and Mori, 2019)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from tutelage.losses import Loss, paired, without_padding
from tutelage.losses._vectors import precise, unit
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"depth": {"float": [0.3, 1.0]}}


class Config(PluginConfig):
    """The pair of stages that is compared, and its pooling; the paper compares the last stage without pooling."""

    pooled: bool = Field(False, description="compare the features' means over the positions, which need a smaller cache")
    depth: float = Field(1.0, ge=0, le=1, description="relative depth of the compared stage: 0 the first, 1 the last")


def needs(config: Config) -> frozenset[Need]:
    """Return what is compared: pooled features, or features of all positions."""
    return frozenset({"pooled"}) if config.pooled else frozenset({"features"})


class Similarity(nn.Module):
    """The mean over the batch of ‖g_s - g_t‖², where g is an example's row of A Aᵀ, scaled to length 1.

    A row of A has one example's features of all positions and channels or, with `pooled`, their means over the positions
    `[batch, channels]`. The loss lies between 0 and 4 for any batch size; it is the paper's ‖G_s - G_t‖² / batch², times the
    batch. It does not change if the features are rotated, or all scaled by one positive number. Unequal widths and grids need
    no adapter. A batch of one example has loss 0, and the row of an example whose features are all 0 is 0.
    """

    def __init__(self, own: Stage, other: Stage, pooled: bool) -> None:
        super().__init__()
        self.own, self.other, self.pooled = own, other, pooled

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        if self.pooled:
            own, other = student.pooled[self.own.name], teacher.pooled[self.other.name]
        else:
            own = without_padding(student.features[self.own.name], teacher, self.own)
            other = without_padding(teacher.features[self.other.name], teacher, self.other)
        return (_similarities(own) - _similarities(other)).square().sum(dim=1).mean()


def _similarities(features: Tensor) -> Tensor:
    examples = precise(features).flatten(1)
    return unit(examples @ examples.T)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    pairs = paired(student, teacher, "similarity")
    return Similarity(*pairs[round(config.depth * (len(pairs) - 1))], config.pooled)
