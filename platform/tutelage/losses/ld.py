"""Localisation distillation: soft targets in which steps count as much as they matter to the task (LD; Zheng et al., 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.losses import Loss, real_steps
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
PUBLISHED = {"temperature": 10.0}
NEEDS: frozenset[Need] = frozenset({"logits"})


class Config(PluginConfig):
    """The task says which steps matter; there are no options."""


class FocusedTargets(nn.Module):
    """T² · Σ w · KL(softmax(z_t / T) ‖ softmax(z_s / T)) / Σ w in nats, over the steps of all examples.

    w is the task's `focus`: of a detector's edges, the probability that its teacher gives to an object in the cell, so that the
    loss is the same at any number of cells. Without a focus all steps count alike, as the cells' classes do. Where all weights
    are 0, so is the loss.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        return focused_divergence(student.logits, teacher, self.temperature)


def focused_divergence(logits: Tensor, teacher: Output, temperature: float) -> Tensor:
    """Return the loss of logits `[batch, steps, classes]` against the teacher's, as `FocusedTargets` states it."""
    own, other = (
        (precise(real_steps(one, teacher.mask)) / temperature).log_softmax(dim=-1) for one in (logits, teacher.logits)
    )
    divergence = (other.exp() * (other - own)).sum(dim=-1)
    if teacher.focus is None:
        return divergence.mean() * temperature**2
    weights = real_steps(teacher.focus, teacher.mask).to(divergence.dtype)
    total = weights.sum()
    return (weights * divergence).sum() / total.where(total > 0, 1.0) * temperature**2


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss, which any pair of networks with the same steps can use."""
    return FocusedTargets(temperature)
