"""Multi-head self-attention with fused projections (Vaswani et al., 2017), of images' patches and of sentences."""

from __future__ import annotations

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
        queries, keys, values = self._split(tokens)
        seen = None if mask is None else mask[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return projected

    def head_scores(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each head's attention scores before the softmax, `[batch, heads, steps, steps]`."""
        queries, keys, _ = self._split(tokens)
        scores: Tensor = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return scores

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, steps, _ = tokens.shape
        split = self.queries_keys_values(tokens).view(batch, steps, 3, self.heads, self.head_width)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        return queries, keys, values
