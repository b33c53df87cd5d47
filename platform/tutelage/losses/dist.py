"""DIST: correlations of probabilities across the classes of a step and across the steps of a class (Huang et al., 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.losses import Loss, real_steps
from tutelage.losses._vectors import precise, unit
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"gamma": {"float": [0.5, 4.0]}}
NEEDS: frozenset[Need] = frozenset({"logits"})
PUBLISHED = {"temperature": 4.0, "weight": 0.5}  # Huang et al. (2022), on CIFAR-100


class Config(PluginConfig):
    """The weights of both relations. The authors' code has 1 and 1 with a loss weight of 2, which is 2 and 2 here."""

    beta: float = Field(2.0, ge=0, description="weight of the relation of classes within a step")
    gamma: float = Field(2.0, ge=0, description="weight of the relation of the batch's steps within a class")


class Relations(nn.Module):
    """T² · (β · mean over steps of (1 - ρ(row_s, row_t)) + γ · mean over classes of (1 - ρ(column_s, column_t))).

    ρ is Pearson's correlation. Rows and columns are those of the softened probabilities `[steps of the batch, classes]`. The
    loss lies between 0 and 2 T² (β + γ). It is invariant to shifts and positive scales of a student's row or column.

    The factor T² is that of the authors' code, which has T = 4 on CIFAR-100 and T = 1 on ImageNet; the paper's formula omits
    it. For T → ∞ the first term is T² (1 - ρ) of the logits themselves.

    A row or column in which the teacher's probabilities are equal, up to rounding, has loss 0; so the second term is 0 in a
    batch of one step. If only the student's are equal, ρ = 0 and 1 - ρ is 1. Neither has a gradient.
    """

    def __init__(self, temperature: float, beta: float, gamma: float) -> None:
        super().__init__()
        self.temperature, self.beta, self.gamma = temperature, beta, gamma

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own, target = (
            (precise(real_steps(output.logits, teacher.mask)) / self.temperature).softmax(dim=-1)
            for output in (student, teacher)
        )
        within, across = (_decorrelation(own, target, dim) for dim in (1, 0))
        return self.temperature**2 * (self.beta * within + self.gamma * across)


def _decorrelation(own: Tensor, target: Tensor, dim: int) -> Tensor:
    directions = unit(_centred(target, dim), dim)
    correlations = (unit(_centred(own, dim), dim) * directions).sum(dim)
    return torch.where(directions.any(dim), 1 - correlations, 0.0).mean()


def _centred(values: Tensor, dim: int) -> Tensor:
    """Return the values minus their mean along `dim`; exactly 0 if they differ only by rounding."""
    centred = values - values.mean(dim, keepdim=True)
    spread, size = (torch.linalg.vector_norm(some.detach(), dim=dim, keepdim=True) for some in (centred, values))
    return centred.where(spread > 8 * torch.finfo(values.dtype).eps * size, 0.0)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss, which any pair of networks can use."""
    return Relations(temperature, config.beta, config.gamma)
