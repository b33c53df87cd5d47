"""An `nn.MultiheadAttention` that has lost heads: those that it keeps are together narrower than a token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class FewHeads(nn.Module):
    """Attention with the interface of `nn.MultiheadAttention`: `num_heads` heads of `head_width`, for tokens of any width.

    `in_projection` has the rows of all queries, then of all keys and of all values.
    """

    _qkv_same_embed_dim = False  # so that nn.TransformerEncoderLayer calls `forward`, and not a kernel with the layer's weights
    in_proj_bias = None

    def __init__(self, attention: nn.MultiheadAttention, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_width = num_heads, attention.head_dim
        self.batch_first, self.dropout = attention.batch_first, attention.dropout
        inner, device = num_heads * self.head_width, attention.in_proj_weight.device
        has_bias = attention.in_proj_bias is not None
        self.in_projection = nn.Linear(attention.embed_dim, 3 * inner, bias=has_bias, device=device)
        self.out_proj = nn.Linear(inner, attention.embed_dim, bias=has_bias, device=device)
        for layer in (self.in_projection, self.out_proj):  # the tokens' width cannot be traced through the first one
            layer.keeps_width = True  # type: ignore[assignment]

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Return the outputs, and the attention weights if they are needed; arguments are those of `nn.MultiheadAttention`."""
        has_batch = query.ndim == 3
        tokens = [self._batched(one, has_batch) for one in (query, key, value)]
        weights, biases = self.in_projection.weight.chunk(3), self._biases()
        queries, keys, values = (
            functional.linear(own, weight, bias).unflatten(-1, (self.num_heads, self.head_width)).transpose(1, 2)
            for own, weight, bias in zip(tokens, weights, biases, strict=True)
        )
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(self.head_width)
        scores = _masked(_masked(scores, attn_mask, has_batch), key_padding_mask, has_batch, per_key=True)
        shares = scores.softmax(dim=-1)
        mixed = functional.dropout(shares, self.dropout, self.training) @ values
        output = self._returned(self.out_proj(mixed.transpose(1, 2).flatten(2)), has_batch)
        if not need_weights:
            return output, None
        shown = shares.mean(dim=1) if average_attn_weights else shares
        return output, shown if has_batch else shown.squeeze(0)

    def _batched(self, tokens: Tensor, has_batch: bool) -> Tensor:
        """Return tokens `[batch, positions, width]`."""
        if not has_batch:
            return tokens.unsqueeze(0)
        return tokens if self.batch_first else tokens.transpose(0, 1)

    def _returned(self, output: Tensor, has_batch: bool) -> Tensor:
        if not has_batch:
            return output.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1)

    def _biases(self) -> tuple[Tensor | None, ...]:
        bias = self.in_projection.bias
        return (None, None, None) if bias is None else bias.chunk(3)


def _masked(scores: Tensor, mask: Tensor | None, has_batch: bool, *, per_key: bool = False) -> Tensor:
    """Return scores `[batch, heads, queries, keys]` with a mask: positions with True are excluded, numbers are added."""
    if mask is None:
        return scores
    if per_key:
        mask = mask[:, None, None, :] if has_batch else mask[None, None, None, :]
    elif mask.ndim == 3:
        mask = mask.view(scores.shape[0], -1, *mask.shape[1:])
    return scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
