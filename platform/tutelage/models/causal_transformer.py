"""A transformer whose tokens see earlier ones alone (Radford et al., 2019), with rotary positions (Su et al., 2021)."""

from __future__ import annotations

from typing import TypeGuard

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.models import _tokens
from tutelage.models._attention import Attention, Block
from tutelage.models._tokens import Embedding, TokenConfig, TokenNetwork, tied_head, token_input
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "embedding": {"int": [32, 128], "step": 32}, "width": {"int": [64, 192], "step": 32}, "depth": {"int": [1, 6]},
    "mlp_ratio": {"float": [2.0, 4.0]},
}  # fmt: skip
fingerprint = _tokens.fingerprint
LONGEST_WAVE = 10_000.0


class Config(TokenConfig):
    """Size of the network."""

    embedding: int = Field(128, ge=1, le=4096, description="channels of a token's embedding")
    width: int = Field(128, ge=2, le=4096, description="channels of a token in the blocks")
    depth: int = Field(4, ge=1, le=64, description="blocks")
    heads: int = Field(4, ge=1, le=64, description="attention heads of a block; each has an even share of the width")
    mlp_ratio: float = Field(4.0, ge=0.25, le=8, description="hidden units of a block's perceptron, in token widths")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features set to 0 in training")
    tied: bool = Field(False, description="whether the logits are computed by the table of the embeddings")


class CausalAttention(Attention):
    """Self-attention in which a token sees itself and earlier ones, by the distance between them.

    Padding stands behind the real tokens, so none of these sees it. The mask may be the number of each token's document
    (`_tokens.documents`): then a token sees those of its own document, whose positions begin at 0.
    """

    def mixed(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return the values as each token sees them, `[batch, heads, steps, head width]`."""
        if not _has_documents(mask):
            return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen(mask).unsqueeze(1))

    def head_scores(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each head's attention scores before the softmax, `[batch, heads, steps, steps]`, 0 for unseen tokens."""
        scores = super().head_scores(tokens, mask)
        return scores.where(seen(mask).unsqueeze(1), 0.0) if _has_documents(mask) else scores.tril()

    def split(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, `[batch, heads, steps, head width]`; all but the values are turned by their step."""
        queries, keys, values = super().split(tokens)
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        if _has_documents(mask):
            steps = (seen(mask).sum(dim=-1) - 1).unsqueeze(1)  # of the token's own document, the same for all heads
        waves = rotations(steps, self.head_width)
        return rotated(queries, *waves), rotated(keys, *waves), values


def _has_documents(mask: Tensor | None) -> TypeGuard[Tensor]:
    return mask is not None and mask.dtype != torch.bool


def seen(documents: Tensor) -> Tensor:
    """Return booleans `[batch, steps, steps]`: whether a token (axis 1) of `documents` `[batch, steps]` sees one of axis 2."""
    return (documents.unsqueeze(2) == documents.unsqueeze(1)).tril()


def rotations(steps: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of `steps` `[…]`, `[…, width / 2]`, whose waves are 2 π to 20,000 π steps long."""
    rates = LONGEST_WAVE ** (torch.arange(0, width, 2, device=steps.device) / -width)
    angles = steps.unsqueeze(-1) * rates
    return angles.cos(), angles.sin()


def rotated(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Return vectors `[…, steps, width]` whose pairs (i, i + width / 2) are turned by the angles of their step."""
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from tokens and their mask `[batch, steps]` to the logits of every label sequence.

    Raises `InputError` if the heads' width is not an even number, and for tied weights where the classes are not the tokens.
    """
    if config.width % (2 * config.heads):
        raise InputError(
            f"model 'causal_transformer': {config.heads} heads do not divide a width of {config.width} into even shares."
        )
    tokens = token_input("causal_transformer", signature, is_causal=True, separates_documents=True)
    stem = Embedding(tokens, config.embedding, config.width, config.dropout, config.pretrained)
    blocks = [_block(config) for _ in range(config.depth)]
    head = tied_head("causal_transformer", stem, config.width, signature) if config.tied else None
    start = signature.inputs[0].document_start
    return TokenNetwork(stem, blocks, config.width, signature, head, document_start=start)


def _block(config: Config) -> Block:
    """Return a block whose branches begin small, so that a deep network begins like a shallow one (Radford et al., 2019)."""
    attention = CausalAttention(config.width, config.heads)
    block = Block(attention, config.width, round(config.mlp_ratio * config.width), config.dropout)
    with torch.no_grad():
        for weight in (attention.get_parameter("projection.weight"), block.perceptron.get_parameter("2.weight")):
            weight.mul_((2 * config.depth) ** -0.5)
    return block
