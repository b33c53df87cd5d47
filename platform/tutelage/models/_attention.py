"""Multi-head self-attention with fused projections (Vaswani et al., 2017), of images' patches, of sentences and of texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.models import keep_width


class Attention(nn.Module):
    """Multi-head self-attention over tokens `[batch, steps, width]`; its heads together may become narrower than these."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.queries_keys_values = keep_width(nn.Linear(width, 3 * width))
        self.projection = keep_width(nn.Linear(width, width))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `[batch, steps, width]`; with a mask `[batch, steps]`, padding is seen by no token."""
        mixed = self.mixed(*self.split(tokens, mask), mask)
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return projected

    def mixed(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return the values as each token sees them, `[batch, heads, steps, head width]`."""
        seen = None if mask is None else mask[:, None, None, :]
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)

    def head_scores(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each head's attention scores before the softmax, `[batch, heads, steps, steps]`."""
        queries, keys, _ = self.split(tokens, mask)
        scores: Tensor = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return scores

    def split(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, `[batch, heads, steps, head width]` each."""
        batch, steps, _ = tokens.shape
        split = self.queries_keys_values(tokens).view(batch, steps, 3, self.heads, self.head_width)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        return queries, keys, values


class Block(nn.Module):
    """A pre-norm transformer block: attention and a perceptron, each with layer norm, dropout and a residual connection."""

    def __init__(self, attention: nn.Module, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), attention
        self.norm2, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), keep_width(nn.Linear(hidden, width)))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `[batch, steps, width]`; with a mask `[batch, steps]`, 0 at padding."""
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens), mask))
        tokens = tokens + self.dropout(self.perceptron(self.norm2(tokens)))
        return tokens if mask is None else torch.where(mask.unsqueeze(-1).bool(), tokens, 0)
