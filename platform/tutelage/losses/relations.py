"""Relations between positions, by the queries, keys and values of one attention layer (MiniLMv2; Wang et al., 2021)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.losses import Loss, position_mask, without_padding
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"heads": {"int": [2, 16], "log": True}, "depth": {"float": [0.5, 1.0]}}
NEEDS: frozenset[Need] = frozenset({"qkv"})
MOST_QUERIES = 32
AT_ONCE = 2**20  # numbers of an array of relations: 4 MB, of which a processor's cache holds several


class Config(PluginConfig):
    """The number of relation heads, the positions, and the teacher's layer; the student's is its last one."""

    heads: int = Field(4, ge=1, le=1024, description="relation heads; at most the width of either network's queries")
    every: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = Field(
        "auto",
        description="of so many positions the first is related to all; auto: so many that at most 32 of typical ones are",
    )
    depth: float = Field(1.0, ge=0, le=1, description="relative depth of the teacher's layer: 0 the first, 1 the last")


class Relations(nn.Module):
    """Σ over queries, keys and values of KL(R_t ‖ R_s) in nats, the mean over relation heads and positions.

    R = softmax(A Aᵀ / √d), where the rows of A are one relation head's share of the vectors of all positions, and d is its
    width. The vectors of all attention heads are one vector of each position, which is divided into relation heads of equal
    width or, where the number does not divide the width, of widths that differ by one. So student and teacher may have any
    numbers of attention heads and any widths, without an adapter. Padding is excluded on both sides of a relation. The cost is
    that of heads · positions² numbers in either network; `every` leaves out some of the rows of R, of which a mean is taken:
    by default as many as keep the cost of a long sequence below that of its attention.

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
        if mask is not None and mask.all():
            mask = None
        else:
            own, other = (without_padding(vectors, teacher, self.own) for vectors in (own, other))
        vectors = (by_head(precise(one).unflatten(-1, (3, -1)), self.heads).permute(0, 2, 3, 1, 4) for one in (own, other))
        divergence: Tensor = Divergence.apply(*vectors, mask, self.every)  # type: ignore[no-untyped-call]
        return divergence


class Divergence(Function):
    """Σ over queries, keys and values of KL(R_t ‖ R_s) of vectors `[batch, 3, heads, positions, d]`, a scalar.

    The gradient by the student's scores is R_s - R_t. It is computed beside the value, for some examples at a time, so that no
    array of heads · positions² numbers is kept for the backward pass, and each exponential is computed once.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, other: Tensor, mask: Tensor | None, every: int) -> Tensor:
        """Return the mean over relation heads and the real queries, of each `every` positions the first."""
        own, other = own.contiguous(), other.contiguous()  # they are read by head several times
        batch, _, heads, positions, _ = own.shape
        is_query = own.new_ones(batch, positions, dtype=torch.bool) if mask is None else mask
        count = heads * is_query[:, ::every].sum().clamp(min=1)
        gradients, total = torch.empty_like(own), own.new_zeros(())
        size = max(1, AT_ONCE // (3 * heads * positions * len(range(0, positions, every))))
        for start in range(0, batch, size):
            some = slice(start, start + size)
            value, gradients[some] = _divergence(own[some], other[some], None if mask is None else mask[some], every)
            total += value
        ctx.save_for_backward(gradients.div_(count))
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient by the student's vectors."""
        return ctx.saved_tensors[0] * upstream, None, None, None


def _divergence(own: Tensor, other: Tensor, mask: Tensor | None, every: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the divergences of all real queries, and its gradient by `own`."""
    queries = own[..., ::every, :]
    (scores, shares, sums), (targets, target_shares, target_sums) = (_relations(one, mask, every) for one in (own, other))
    values = targets.sub_(scores).mul_(target_shares).sum(dim=-1, keepdim=True) + sums - target_sums
    differences = shares.sub_(target_shares)
    if mask is not None:
        real = mask[:, None, None, ::every, None]
        values, differences = values.where(real, 0.0), differences.mul_(real)
    gradient = differences.mT @ queries
    gradient[..., ::every, :] += differences @ own
    return values.sum(), gradient


def _relations(vectors: Tensor, mask: Tensor | None, every: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores `[batch, 3, heads, queries, positions]` of which the largest is 0, R, and the logarithms of R's divisors.

    A row of R sums to 1 over the real positions in `mask` `[batch, positions]`; other positions have 0.
    """
    scores = vectors[..., ::every, :] @ vectors.mT
    if mask is not None:
        least = torch.finfo(scores.dtype).min / 2  # finite, because 0 · (∞ - ∞) is NaN
        scores.masked_fill_(~mask[:, None, None, None, :], least)
    scores -= scores.amax(dim=-1, keepdim=True)
    shares = scores.exp()
    sums = shares.sum(dim=-1, keepdim=True)
    return scores, shares.div_(sums), sums.log()


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
    every = -(-own.positions // MOST_QUERIES) if config.every == "auto" else config.every
    return Relations(own, other, config.heads, every)


def _with_attention(who: str, outline: Outline) -> list[Stage]:
    """Return the stages that have attention."""
    found = [stage for stage in outline.stages if stage.qkv_width]
    if not found:
        raise InputError(
            f"loss 'relations' compares attention layers, and the {who} has none. Use 'attention' of activations or 'fitnet', "
            "or a network such as transformer, causal_transformer or vit."
        )
    return found
