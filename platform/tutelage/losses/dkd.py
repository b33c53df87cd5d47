"""How sure the teacher is of a class and how it ranks all others, weighed apart: decoupled (DKD; Zhao et al., 2022)."""

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
    """How much each part counts; the paper's code has β 2 to 8 on CIFAR-100 and 0.5 on ImageNet, α 1."""

    alpha: float = Field(1.0, ge=0, description="weight of TCKD: how likely the target class is")
    beta: float = Field(8.0, ge=0, description="weight of NCKD: how the other classes share the rest")


class Decoupled(nn.Module):
    """T² · (α · TCKD + β · NCKD) in nats, the mean over batch and steps.

    With p, q the softened distributions of teacher and student and y the target class, TCKD is the KL of (p_y, 1 - p_y) from
    (q_y, 1 - q_y), and NCKD that of p from q over the other classes alone, each normalised. `kd` is TCKD + (1 - p_y) · NCKD:
    it weighs the others by the teacher's doubt, here they keep their weight. Of two classes NCKD is 0.

    y is the label; where it is unknown (no labels, or -1), the teacher's own top class, of equal ones the first.
    """

    def __init__(self, temperature: float, alpha: float, beta: float) -> None:
        super().__init__()
        self.temperature, self.alpha, self.beta = temperature, alpha, beta

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own, known = (precise(real_steps(answer.logits, teacher.mask)) / self.temperature for answer in (student, teacher))
        target = known.argmax(dim=-1, keepdim=True)
        if teacher.labels is not None:
            labels = real_steps(teacher.labels, teacher.mask).unsqueeze(-1)
            target = labels.where(labels >= 0, target)
        target_part = _divergence(_target_or_not(own, target), _target_or_not(known, target))
        others_part = _divergence(_others(own, target).log_softmax(dim=-1), _others(known, target).log_softmax(dim=-1))
        return (self.alpha * target_part + self.beta * others_part) * self.temperature**2


def _target_or_not(scores: Tensor, target: Tensor) -> Tensor:
    """Return log p_y and log(1 - p_y), `[n, 2]`: the latter as the others' sum, since 1 - p_y cancels."""
    others = _others(scores, target).logsumexp(dim=-1, keepdim=True)
    return torch.cat([scores.gather(-1, target), others], dim=-1).log_softmax(dim=-1)


def _others(scores: Tensor, target: Tensor) -> Tensor:
    """Return the scores `[n, classes - 1]` of all classes but the target `[n, 1]`."""
    others = torch.arange(scores.shape[-1] - 1, device=scores.device)
    return scores.gather(-1, others + (others >= target))


def _divergence(own: Tensor, known: Tensor) -> Tensor:
    return functional.kl_div(own, known, reduction="batchmean", log_target=True)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; it serves every pair."""
    return Decoupled(temperature, config.alpha, config.beta)
