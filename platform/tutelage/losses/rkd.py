"""The student's batch has its teacher's shape: distances and angles between examples (RKD; Park et al., 2019)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Loss, paired
from tutelage.losses._vectors import precise, unit
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"distance": {"float": [5.0, 50.0]}, "angle": {"float": [10.0, 100.0]}}
NEEDS: frozenset[Need] = frozenset({"pooled"})
MOST_WITH_ANGLES = 64


class Config(PluginConfig):
    """How much each relation counts; the paper's classifiers were taught with 25 and 50."""

    distance: float = Field(25.0, ge=0, description="weight of the distances between two examples")
    angle: float = Field(50.0, ge=0, description="weight of the angles between three examples")


class Relational(nn.Module):
    """Weighted means of Huber(d_s - d_t) over pairs of examples and Huber(c_s - c_t) over triples.

    An example is the last stage's features, their means over the positions `[batch, channels]`. d is the distance of two,
    over the mean of the batch's positive ones; c the cosine of the angle at the first of three. Huber(x) is x² / 2 up to 1,
    |x| - 1/2 beyond. The means run over all batch² pairs and batch³ triples, as in the published code, those of one example
    with itself included: they cost 0, and coinciding examples have no gradient from each other.

    Angles are taken of the batch's first 64 examples, a random draw where batches are: 64³ cosines, where 256 examples have
    17 million. A rotation, a shift or one positive scale of all examples changes nothing; unequal widths need no adapter.
    """

    def __init__(self, own: Stage, other: Stage, distance: float, angle: float) -> None:
        super().__init__()
        self.own, self.other, self.distance, self.angle = own.name, other.name, distance, angle

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own, other = precise(student.pooled[self.own]), precise(teacher.pooled[self.other])
        distances = functional.smooth_l1_loss(_distances(own), _distances(other))
        return self.distance * distances + self.angle * functional.smooth_l1_loss(_angles(own), _angles(other))


def _distances(examples: Tensor) -> Tensor:
    # by differences: ‖a‖² + ‖b‖² - 2ab cancels for examples that are near each other
    distances = torch.cdist(examples, examples, compute_mode="donot_use_mm_for_euclid_dist")
    scale = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / scale.where(scale > 0, 1.0)


def _angles(examples: Tensor) -> Tensor:
    some = examples[:MOST_WITH_ANGLES]
    directions = unit(some.unsqueeze(0) - some.unsqueeze(1))
    return directions @ directions.mT


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` for a network without stages."""
    return Relational(*paired(student, teacher, "rkd")[-1], config.distance, config.angle)
