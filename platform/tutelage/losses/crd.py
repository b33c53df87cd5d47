"""Contrastive representation distillation: embeddings of the same example are matched (Tian, Krishnan and Isola, 2020)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Loss, paired
from tutelage.losses._vectors import unit
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"nce_temperature": {"float": [0.05, 0.3], "log": True}}
NEEDS: frozenset[Need] = frozenset({"pooled"})


class Config(PluginConfig):
    """Embeddings and their comparison."""

    features: int = Field(128, ge=2, le=4096, description="length of an embedding")
    negatives: int = Field(1024, ge=1, le=65_536, description="embeddings of earlier examples that are stored")
    nce_temperature: float = Field(0.1, gt=0, le=10, description="divisor of the cosines of embeddings")


class ContrastiveRepresentation(nn.Module):
    """(-log₂ σ(c) of an example's positive pair + the mean of -log₂ σ(-c) of its negative pairs) / 2, the mean over the batch.

    Embeddings g_s and g_t are linear maps of the pooled features of the last stages, scaled to length 1. The score
    c = g_s · g_t / τ - log Z, with Z the mean of exp(g · g / τ) over negative pairs, is the log ratio of the likelihoods of a
    positive and a negative pair. σ(c) is the paper's critic with as many negatives as positives. Negatives are averaged, not
    summed, so that the loss does not scale with their number. The loss is the mean of both directions, student to teacher and
    teacher to student; it is about 1 for uninformative embeddings.

    The paper draws negatives from a bank of all examples' embeddings. Here they are those of the other examples of the batch
    and of the last `negatives` examples, first in, first out (He et al., 2020); examples of the same class are excluded where
    labels exist. The stored embeddings are updated only in training and are part of the state.
    """

    def __init__(self, own: Stage, other: Stage, config: Config) -> None:
        super().__init__()
        self.own, self.other, self.temperature = own.name, other.name, config.nce_temperature
        self.of_student = nn.Linear(own.channels, config.features)
        self.of_teacher = nn.Linear(other.channels, config.features)
        for name in ("students", "teachers"):
            self.register_buffer(name, torch.zeros(config.negatives, config.features))
        self.register_buffer("classes", torch.full((config.negatives,), -2))  # -2: an empty slot
        self.register_buffer("place", torch.tensor(0))
        self.students: Tensor
        self.teachers: Tensor
        self.classes: Tensor
        self.place: Tensor

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own = _embedded(self.of_student, student.pooled[self.own])
        other = _embedded(self.of_teacher, teacher.pooled[self.other])
        classes = _classes(teacher, len(own))
        to_teacher = self._contrast(own, other, self.teachers, classes)
        to_student = self._contrast(other, own, self.students, classes)
        if self.training:
            self._store(own.detach(), other.detach(), classes)
        return (to_teacher + to_student) / 2

    def _contrast(self, anchors: Tensor, partners: Tensor, stored: Tensor, classes: Tensor) -> Tensor:
        """Return the loss of the anchors against their partners; negatives are the other partners and the stored embeddings."""
        count = len(anchors)
        candidates = torch.cat([partners, stored.to(partners.dtype)])
        scores = anchors @ candidates.T / self.temperature
        others = torch.cat([classes, self.classes])
        usable = (others != -2) & ((others != classes.unsqueeze(1)) | (others == -1))
        usable[:, :count] &= ~torch.eye(count, dtype=torch.bool, device=usable.device)
        critics = scores - self._log_mean_exp(scores.detach(), usable)
        right = functional.softplus(-critics.diagonal()[:count])
        wrong = torch.where(usable, functional.softplus(critics), 0).sum(dim=1) / usable.sum(dim=1).clamp(min=1)
        return (right + wrong).mean() / (2 * math.log(2))

    def _log_mean_exp(self, scores: Tensor, usable: Tensor) -> Tensor:
        """Return log Z, the log of the mean of exp(score) over all negative pairs; 0 without any."""
        if not usable.any():
            return scores.new_zeros(())
        return scores.masked_fill(~usable, float("-inf")).logsumexp(dim=(0, 1)) - usable.sum().to(scores.dtype).log()

    @torch.no_grad()
    def _store(self, own: Tensor, other: Tensor, classes: Tensor) -> None:
        size = len(self.classes)
        rows = (int(self.place) + torch.arange(len(own), device=own.device))[-size:] % size
        for memory, embeddings in ((self.students, own), (self.teachers, other), (self.classes, classes)):
            memory[rows] = embeddings[-size:].to(memory.dtype)
        self.place.fill_((int(self.place) + len(own)) % size)


def _embedded(linear: nn.Linear, pooled: Tensor) -> Tensor:
    return unit(linear(pooled.to(linear.weight.dtype)))


def _classes(teacher: Output, count: int) -> Tensor:
    """Return each example's class `[batch]`; -1 without a label, and for label sequences of several steps."""
    if teacher.labels is None or teacher.labels.shape[1] != 1:
        device = next(iter(teacher.pooled.values())).device
        return torch.full((count,), -1, device=device)
    return teacher.labels[:, 0]


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a network without stages."""
    own, other = paired(student, teacher, "crd")[-1]
    return ContrastiveRepresentation(own, other, config)
