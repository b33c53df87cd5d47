"""Attention transfer: activation maps (Zagoruyko and Komodakis, 2017) or scores of attention heads (Jiao et al., 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Loss, on_grid_of, paired, position_mask, without_padding
from tutelage.losses._vectors import precise, relative, unit
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """The kind of attention that is compared."""

    of: Literal["activations", "heads"] | None = Field(
        None,
        description="activations: mean squares over the channels, p = 2; heads: scores of transformers' heads. Without it, "
        "activations; of two transformers of sequences it must be set, because their attention is compared by `relations`",
    )


def needs(config: Config) -> frozenset[Need]:
    """Return what is compared: activation maps, or the scores of attention heads."""
    return frozenset({"heads"}) if config.of == "heads" else frozenset({"maps"})


class AttentionTransfer(nn.Module):
    """Σ over pairs of stages of ‖m_s / ‖m_s‖ - m_t / ‖m_t‖‖², the mean over the batch, over the number of pairs.

    A pair's loss is 2 - 2 cos(m_s, m_t), between 0 (equal maps) and 2, independent of the resolution. If grids differ, the
    teacher's map is averaged or interpolated to the student's grid. The loss does not change if channels are permuted, their
    signs are flipped, or all are scaled. (This is the paper's sum over positions; its mean over positions is smaller by their
    number.)
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        losses = list[Tensor]()
        for own, other in self.pairs:
            maps = student.maps[own.name]
            target = on_grid_of(teacher.maps[other.name], teacher, other, own, maps.shape[1])
            losses.append(_distance(*(without_padding(one, teacher, own) for one in (maps, target))))
        total: Tensor = sum(losses[1:], start=losses[0])
        return total / len(losses)


def _distance(own: Tensor, other: Tensor) -> Tensor:
    return (unit(precise(own)) - unit(precise(other))).square().sum(dim=1).mean()


class HeadAttention(nn.Module):
    """Σ over pairs of stages of the mean of (a_s - a_t)², over the mean of a_t², over the number of pairs.

    a are the scores of each head before the softmax, with which TinyBERT converged faster than with those after it. If the
    numbers of heads differ, the means over the heads are compared. (The paper's loss is the mean of (a_s - a_t)² itself.) If
    positions are steps, padding is excluded as query and as key.
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        return torch.stack([self._distance(own, other, student, teacher) for own, other in self.pairs]).mean()

    def _distance(self, own: Stage, other: Stage, student: Output, teacher: Output) -> Tensor:
        scores, target = precise(student.heads[own.name]), precise(teacher.heads[other.name])
        if own.heads != other.heads:
            scores, target = (heads.mean(dim=1, keepdim=True) for heads in (scores, target))
        mask = position_mask(teacher, own, scores.shape[-1])
        if mask is not None:
            both = (mask.unsqueeze(1) & mask.unsqueeze(2)).unsqueeze(1).expand_as(scores)
            scores, target = scores[both], target[both]
        return relative((scores - target).square().mean(), target.square().mean())


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for networks without stages, stages of several positions, or heads.

    For two networks that have attention over steps, `of` has no default: `relations` is the one to begin with.
    """
    if config.of == "heads":
        return HeadAttention(_heads(student, teacher))
    if config.of is None and all(
        any(stage.qkv_width and stage.has_steps for stage in one.stages) for one in (student, teacher)
    ):
        raise InputError(
            "loss 'attention': student and teacher are transformers of sequences. The loss for their attention is 'relations' "
            "(queries, keys and values; MiniLMv2). Use it, or set of: activations or of: heads."
        )
    pairs = [(own, other) for own, other in paired(student, teacher, "attention") if own.positions > 1 < other.positions]
    if not pairs:
        raise InputError("loss 'attention' needs stages of several positions; a perceptron has one. Use kd, fitnet or crd.")
    return AttentionTransfer(pairs)


def _heads(student: Outline, teacher: Outline) -> list[tuple[Stage, Stage]]:
    for who, outline in (("student", student), ("teacher", teacher)):
        if not any(stage.heads for stage in outline.stages):
            raise InputError(
                f"loss 'attention' of heads: the {who} has no attention heads. Set of: activations, or use a transformer."
            )
    pairs = [(own, other) for own, other in paired(student, teacher, "attention") if own.heads and other.heads]
    if not pairs:
        raise InputError(
            "loss 'attention' of heads: matched by depth, no pair of stages has heads in both networks. Name the layers to "
            "compare, or set of: activations."
        )
    for own, other in pairs:
        if own.positions != other.positions:
            raise InputError(
                f"loss 'attention' of heads: the student's {own.name} has {own.positions} positions, the teacher's "
                f"{other.name} has {other.positions}. Give both the same patch_px, or set of: activations."
            )
    return pairs
