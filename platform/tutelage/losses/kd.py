"""Knowledge distillation with soft targets (Hinton, Vinyals and Dean, 2015), optionally of standardised logits."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.losses import Loss, real_steps
from tutelage.networks.output import Need, Outline, Output
from tutelage.networks.sampled import cross_entropy
from tutelage.networks.top_k import coarse_log_probabilities
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"standardise": {"choice": [False, True]}}
PUBLISHED = {"temperature": 4.0, "weight": 0.9}  # Tian et al. (2020)


class Config(PluginConfig):
    """The preprocessing of logits."""

    standardise: bool = Field(False, description="compare logits of mean 0 and deviation 1 in every step (Sun et al., 2024)")


def needs(config: Config) -> frozenset[Need]:
    """Return what is compared: standardisation needs all logits; soft targets may be sparse (top-k)."""
    return frozenset({"logits"}) if config.standardise else frozenset()


class SoftTargets(nn.Module):
    """T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)) in nats, the mean over the steps.

    With the factor T², the gradient has about the same size at every temperature (Hinton et al., 2015, section 2). The loss
    is 0 for equal distributions. With `standardise`, z is (z - mean) / deviation of its step, where the deviation has C - 1
    degrees of freedom (Sun et al., 2024). The loss is then invariant to positive affine maps of the logits of either network.

    A sparse teacher is compared over its k classes and the sum of all others. The result is below the dense loss by the mass
    of the others times the divergence within them (`networks.top_k`). Of classes drawn from the teacher (`networks.sampled`),
    which are drawn at temperature 1, the mean of -log softmax(z_s) is taken: the loss plus the teacher's entropy, unbiased.
    """

    def __init__(self, temperature: float, *, standardise: bool = False) -> None:
        super().__init__()
        self.temperature, self.standardise = temperature, standardise

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own = real_steps(student.logits, teacher.mask)
        if teacher.drawn is not None:
            return cross_entropy(own, real_steps(teacher.drawn, teacher.mask))
        if teacher.top is not None:
            classes = real_steps(teacher.top.classes, teacher.mask)
            target = real_steps(teacher.top.log_probabilities(self.temperature), teacher.mask)
            softened = coarse_log_probabilities(own, classes, self.temperature)
        else:
            target = self._softened(real_steps(teacher.logits, teacher.mask))
            softened = self._softened(own)
        divergence = (target.exp() * (target - softened)).sum(dim=-1).mean()
        return divergence * self.temperature**2

    def _softened(self, logits: Tensor) -> Tensor:
        scores = standardised(logits) if self.standardise else logits
        return (scores if self.temperature == 1.0 else scores / self.temperature).log_softmax(dim=-1)


def standardised(logits: Tensor) -> Tensor:
    """Return logits `[…, classes]` with mean 0 and deviation 1 in every step.

    Equal logits have no deviation to divide by. They become 0, with the gradient of logits of deviation 1, so that a head whose
    weights start at 0 learns from its teacher. Logits count as equal if they differ by rounding only.
    """
    centred = logits - logits.mean(dim=-1, keepdim=True)
    variance = centred.square().sum(dim=-1, keepdim=True) / (logits.shape[-1] - 1)
    limits = torch.finfo(logits.dtype)
    rounding = (8 * limits.eps) ** 2 * logits.detach().square().mean(dim=-1, keepdim=True)
    return centred * variance.where(variance > rounding + limits.tiny**0.5, 1.0).rsqrt()


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss, which any pair of networks can use."""
    return SoftTargets(temperature, standardise=config.standardise)
