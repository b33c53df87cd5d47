"""A transformer whose tokens see earlier ones alone (Radford et al., 2019), with rotary positions (Su et al., 2021)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.models._attention import Attention, Block
from tutelage.models._tokens import Embedding, TokenNetwork, tied_head, vocabulary_size
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "embedding": {"int": [32, 128], "step": 32}, "width": {"int": [64, 192], "step": 32}, "depth": {"int": [1, 6]},
    "mlp_ratio": {"float": [2.0, 4.0]},
}  # fmt: skip
LONGEST_WAVE = 10_000.0


class Config(PluginConfig):
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

    Padding stands behind the real tokens, so none of these sees it.
    """

    def mixed(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return the values as each token sees them, `[batch, heads, steps, head width]`."""
        return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)

    def head_scores(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each head's attention scores before the softmax, `[batch, heads, steps, steps]`, 0 for later tokens."""
        return super().head_scores(tokens, mask).tril()

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, `[batch, heads, steps, head width]`; all but the values are turned by their step."""
        queries, keys, values = super().split(tokens)
        waves = rotations(tokens.shape[1], self.head_width, tokens.device)
        return rotated(queries, *waves), rotated(keys, *waves), values


def rotations(steps: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the step, `[steps, width / 2]`, whose waves are 2 π to 20,000 π steps long."""
    rates = LONGEST_WAVE ** (torch.arange(0, width, 2, device=device) / -width)
    angles = torch.arange(steps, device=device).unsqueeze(1) * rates
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
    num_tokens = vocabulary_size("causal_transformer", signature, is_causal=True)
    stem = Embedding(num_tokens, config.embedding, config.width, config.dropout)
    blocks = [_block(config) for _ in range(config.depth)]
    head = tied_head("causal_transformer", stem, config.width, signature) if config.tied else None
    return TokenNetwork(stem, blocks, config.width, signature, head)


def _block(config: Config) -> Block:
    """Return a block whose branches begin small, so that a deep network begins like a shallow one (Radford et al., 2019)."""
    attention = CausalAttention(config.width, config.heads)
    block = Block(attention, config.width, round(config.mlp_ratio * config.width), config.dropout)
    with torch.no_grad():
        for weight in (attention.get_parameter("projection.weight"), block.perceptron.get_parameter("2.weight")):
            weight.mul_((2 * config.depth) ** -0.5)
    return block
