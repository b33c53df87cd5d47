"""Relations between positions, by the queries, keys and values of one attention layer (MiniLMv2; Wang et al., 2021)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.losses import Loss, position_mask, without_padding
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"heads": {"int": [2, 16], "log": True}, "depth": {"float": [0.5, 1.0]}}
NEEDS: frozenset[Need] = frozenset({"qkv"})


class Config(PluginConfig):
    """The number of relation heads, the positions, and the teacher's layer; the student's is its last one."""

    heads: int = Field(4, ge=1, le=1024, description="relation heads; at most the width of either network's queries")
    every: int = Field(1, ge=1, le=65_536, description="of so many positions the first is related to all; it divides the cost")
    depth: float = Field(1.0, ge=0, le=1, description="relative depth of the teacher's layer: 0 the first, 1 the last")


class Relations(nn.Module):
    """Σ over queries, keys and values of KL(R_t ‖ R_s) in nats, the mean over relation heads and positions.

    R = softmax(A Aᵀ / √d), where the rows of A are one relation head's share of the vectors of all positions, and d is its
    width. The vectors of all attention heads are one vector of each position, which is divided into relation heads of equal
    width or, where the number does not divide the width, of widths that differ by one. So student and teacher may have any
    numbers of attention heads and any widths, without an adapter. Padding is excluded on both sides of a relation. The cost is
    that of heads · positions² numbers in either network; `every` leaves out some of the rows of R, of which a mean is taken.

    The vectors are those that the layers compute, before rotary positions are applied. Causal networks are compared in both
    directions too: the relations of a step to later ones exist in training, and no network reads them.
    """

    def __init__(self, own: Stage, other: Stage, heads: int, every: int) -> None:
        super().__init__()
        self.own, self.other, self.heads, self.every = own, other, heads, every

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        own, other = student.qkv[self.own.name], teacher.qkv[self.other.name]
        mask = position_mask(teacher, self.own, own.shape[1])
        logs, target = (
            log_relations(precise(without_padding(vectors, teacher, self.own)), self.heads, mask, self.every)
            for vectors in (own, other)
        )
        divergence = (target.exp() * (target - logs)).sum(dim=-1).movedim(-1, 1)  # [batch, queries, 3, heads]
        real = divergence if mask is None else divergence[mask[:, :: self.every]]
        total: Tensor = 3 * real.mean()
        return total


def log_relations(vectors: Tensor, heads: int, mask: Tensor | None, every: int = 1) -> Tensor:
    """Return the logarithms of the relations `[batch, 3, heads, queries, positions]` of vectors `[batch, positions, 3 * d]`.

    Of each `every` positions the first is a query. A row sums to 1 over the real positions in `mask` `[batch, positions]`;
    other positions have about 0.
    """
    split = by_head(vectors.unflatten(-1, (3, -1)), heads).permute(0, 2, 3, 1, 4)
    scores = split[..., ::every, :] @ split.mT
    if mask is not None:
        least = torch.finfo(scores.dtype).min / 2  # finite, because 0 · (∞ - ∞) is NaN
        scores = scores.where(mask[:, None, None, None, :], least)
    return scores.log_softmax(dim=-1)


def by_head(vectors: Tensor, heads: int) -> Tensor:
    """Return vectors `[…, width]` as `[…, heads, widest]`, scaled so that a dot product is divided by √(the head's width).

    Heads that are narrower than the widest one are filled with 0.
    """
    parts = vectors.tensor_split(heads, dim=-1)
    widest = parts[0].shape[-1]
    if widest == parts[-1].shape[-1]:
        even: Tensor = vectors.unflatten(-1, (heads, widest)) * float(widest) ** -0.25
        return even
    scaled = [functional.pad(part, (0, widest - part.shape[-1])) * float(part.shape[-1]) ** -0.25 for part in parts]
    return torch.stack(scaled, dim=-2)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for networks without attention, of other positions, or narrower than the heads."""
    own, others = _with_attention("student", student)[-1], _with_attention("teacher", teacher)
    other = others[round(config.depth * (len(others) - 1))]
    if (own.positions, own.has_steps) != (other.positions, other.has_steps):
        raise InputError(
            f"loss 'relations': the student's {own.name} has {own.positions} positions, the teacher's {other.name} has "
            f"{other.positions}. Give both the same stride or patch_px, or use 'attention' of activations."
        )
    narrowest = min(own.qkv_width, other.qkv_width)
    if config.heads > narrowest:
        raise InputError(
            f"loss 'relations': {config.heads} relation heads, and the queries of the narrower network have {narrowest} "
            f"channels. Set heads to {narrowest} or less."
        )
    return Relations(own, other, config.heads, config.every)


def _with_attention(who: str, outline: Outline) -> list[Stage]:
    """Return the stages that have attention."""
    found = [stage for stage in outline.stages if stage.qkv_width]
    if not found:
        raise InputError(
            f"loss 'relations' compares attention layers, and the {who} has none. Use 'attention' of activations or 'fitnet', "
            "or a network such as transformer, causal_transformer or vit."
        )
    return found
