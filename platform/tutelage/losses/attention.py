"""The student looks where its teacher looks: attention maps (Zagoruyko and Komodakis, 2017), or heads (Jiao et al., 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Loss, paired, position_mask, without_padding
from tutelage.losses._grids import regridded
from tutelage.losses._vectors import precise, unit
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Whose attention it is."""

    of: Literal["activations", "heads"] = Field(
        "activations", description="activations: mean squares over the channels, p = 2; heads: scores of transformers' heads"
    )


def needs(config: Config) -> frozenset[Need]:
    """Return what is compared: maps of activations, or the scores of heads."""
    return frozenset({"heads"}) if config.of == "heads" else frozenset({"maps"})


class AttentionTransfer(nn.Module):
    """Σ over pairs of stages of ‖m_s / ‖m_s‖ - m_t / ‖m_t‖‖², the mean over the batch, over the number of pairs.

    A pair costs 2 - 2 cos(m_s, m_t), whatever its resolution: between 0 (same map) and 2. Maps of unequal grids are compared
    on the student's, to which the teacher's is averaged or interpolated. Permuting or flipping the sign of channels, or
    scaling all of them, changes nothing. (The paper's sum over positions is this, its mean over positions is smaller by
    their number.)
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        losses = list[Tensor]()
        for own, other in self.pairs:
            known = regridded(without_padding(teacher.maps[other.name], teacher), other.grid, own.grid)
            losses.append(_distance(*(without_padding(maps, teacher) for maps in (student.maps[own.name], known))))
        total: Tensor = sum(losses[1:], start=losses[0])
        return total / len(losses)


def _distance(own: Tensor, other: Tensor) -> Tensor:
    return (unit(precise(own)) - unit(precise(other))).square().sum(dim=1).mean()


class HeadAttention(nn.Module):
    """Σ over pairs of stages of the mean of (a_s - a_t)², over the mean of a_t², over the number of pairs.

    a are the scores of every head before the softmax, which TinyBERT found to be learnt sooner than what comes after it; of
    unequal numbers of heads the means are compared. (The paper's loss is the mean of (a_s - a_t)² itself.) Of positions that
    are steps, padding counts neither as query nor as key.
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        return torch.stack([self._apart(own, other, student, teacher) for own, other in self.pairs]).mean()

    def _apart(self, own: Stage, other: Stage, student: Output, teacher: Output) -> Tensor:
        scores, known = precise(student.heads[own.name]), precise(teacher.heads[other.name])
        if own.heads != other.heads:
            scores, known = (heads.mean(dim=1, keepdim=True) for heads in (scores, known))
        mask = position_mask(teacher, scores.shape[-1])
        if mask is not None:
            both = (mask.unsqueeze(1) & mask.unsqueeze(2)).unsqueeze(1).expand_as(scores)
            scores, known = scores[both], known[both]
        return (scores - known).square().mean() / known.square().mean().clamp(min=torch.finfo(torch.float32).tiny)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` for a network without stages, or whose stages have one position only, or no heads."""
    if config.of == "heads":
        return HeadAttention(_heads(student, teacher))
    pairs = [(own, other) for own, other in paired(student, teacher, "attention") if own.positions > 1 < other.positions]
    if not pairs:
        raise InputError("loss 'attention' needs stages of several positions; a perceptron looks everywhere at once. Use kd.")
    return AttentionTransfer(pairs)


def _heads(student: Outline, teacher: Outline) -> list[tuple[Stage, Stage]]:
    for who, outline in (("student", student), ("teacher", teacher)):
        if not any(stage.heads for stage in outline.stages):
            raise InputError(f"loss 'attention' of heads: the {who} has no attention head. Take of: activations, or a vit.")
    pairs = [(own, other) for own, other in paired(student, teacher, "attention") if own.heads and other.heads]
    if not pairs:
        raise InputError(
            "loss 'attention' of heads: by depth, no stage with heads of the student meets one of the teacher. Name the layers "
            "to compare, or take of: activations."
        )
    for own, other in pairs:
        if own.positions != other.positions:
            raise InputError(
                f"loss 'attention' of heads: the student's {own.name} has {own.positions} positions, the teacher's "
                f"{other.name} {other.positions}. Give both patches of one size, or take of: activations."
            )
    return pairs
