"""Decoupled knowledge distillation: separate weights for the target class and for the other classes (Zhao et al., 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Loss, real_steps
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"beta": {"float": [1.0, 10.0]}}
NEEDS: frozenset[Need] = frozenset({"logits"})
PUBLISHED = {"temperature": 4.0, "weight": 0.5}  # Zhao et al. (2022), on CIFAR-100


class Config(PluginConfig):
    """The weights of both parts. The paper's code uses α = 1, and β from 2 to 8 on CIFAR-100 and 0.5 on ImageNet."""

    alpha: float = Field(1.0, ge=0, description="weight of TCKD, the probability of the target class")
    beta: float = Field(8.0, ge=0, description="weight of NCKD, the distribution over the other classes")


class Decoupled(nn.Module):
    """T² · (α · TCKD + β · NCKD) in nats, the mean over batch and steps.

    p and q are the softened distributions of teacher and student, and y is the target class. TCKD is
    KL((p_y, 1 - p_y) ‖ (q_y, 1 - q_y)). NCKD is KL(p ‖ q) over the other classes only, with both normalised. `kd` is
    TCKD + (1 - p_y) · NCKD: its weight of the other classes shrinks as the teacher becomes more certain; here it is constant.
    With two classes, NCKD is 0.

    y is the label. Where the label is unknown (no labels, or -1), y is the teacher's top class, the first of equal ones.
    """

    def __init__(self, temperature: float, alpha: float, beta: float) -> None:
        super().__init__()
        self.temperature, self.alpha, self.beta = temperature, alpha, beta

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own, other = (precise(real_steps(output.logits, teacher.mask)) / self.temperature for output in (student, teacher))
        target = other.argmax(dim=-1, keepdim=True)
        if teacher.labels is not None:
            labels = real_steps(teacher.labels, teacher.mask).unsqueeze(-1)
            target = labels.where(labels >= 0, target)
        target_part = _divergence(_target_or_not(own, target), _target_or_not(other, target))
        others_part = _divergence(_others(own, target).log_softmax(dim=-1), _others(other, target).log_softmax(dim=-1))
        return (self.alpha * target_part + self.beta * others_part) * self.temperature**2


def _target_or_not(scores: Tensor, target: Tensor) -> Tensor:
    """Return log p_y and log(1 - p_y), `[n, 2]`; the latter is a sum over the other classes, because 1 - p_y cancels."""
    others = _others(scores, target).logsumexp(dim=-1, keepdim=True)
    return torch.cat([scores.gather(-1, target), others], dim=-1).log_softmax(dim=-1)


def _others(scores: Tensor, target: Tensor) -> Tensor:
    """Return the scores `[n, classes - 1]` of all classes except the target `[n, 1]`."""
    others = torch.arange(scores.shape[-1] - 1, device=scores.device)
    return scores.gather(-1, others + (others >= target))


def _divergence(own: Tensor, other: Tensor) -> Tensor:
    return functional.kl_div(own, other, reduction="batchmean", log_target=True)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss, which any pair of networks can use."""
    return Decoupled(temperature, config.alpha, config.beta)
