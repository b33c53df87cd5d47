"""Relational knowledge distillation: distances and angles between the examples of a batch (Park et al., 2019)."""

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
    """The weights of both relations; the paper uses 25 and 50 for classification."""

    distance: float = Field(25.0, ge=0, description="weight of the distances between two examples")
    angle: float = Field(50.0, ge=0, description="weight of the angles between three examples")


class Relational(nn.Module):
    """Weighted means of Huber(d_s - d_t) over pairs of examples and Huber(c_s - c_t) over triples.

    An example is a point: the last stage's features, averaged over the positions `[batch, channels]`. d is the distance of two
    points, divided by the mean of the batch's positive distances. c is the cosine of the angle at the first of three points.
    Huber(x) is x² / 2 for |x| ≤ 1 and |x| - 1/2 otherwise. The means run over all batch² pairs and batch³ triples, as in the
    published code; those that repeat an example have loss 0, and coinciding points have no gradient from each other.

    Angles are computed for the first 64 examples of a batch, which are a random sample if batches are: 64³ cosines instead of
    17 million for 256 examples. The loss does not change if all points are rotated, shifted or scaled by one positive number.
    Unequal widths need no adapter.
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
    # from differences, because ‖a‖² + ‖b‖² - 2ab cancels for points that are close to each other
    distances = torch.cdist(examples, examples, compute_mode="donot_use_mm_for_euclid_dist")
    scale = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / scale.where(scale > 0, 1.0)


def _angles(examples: Tensor) -> Tensor:
    points = examples[:MOST_WITH_ANGLES]
    directions = unit(points.unsqueeze(0) - points.unsqueeze(1))
    return directions @ directions.mT


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    return Relational(*paired(student, teacher, "rkd")[-1], config.distance, config.angle)
