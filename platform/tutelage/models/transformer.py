"""A transformer encoder over embeddings of tokens, with sinusoidal positions (Vaswani et al., 2017) and norms before layers."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.models import _static_embeddings as static
from tutelage.models import _tokens
from tutelage.models._attention import Attention, Block
from tutelage.models._tokens import Embedding, TokenConfig, TokenNetwork, token_input
from tutelage.signature import InputSpec, Signature

SPACE: dict[str, dict[str, object]] = {
    "embedding": {"int": [16, 96], "step": 16}, "width": {"int": [32, 160], "step": 32}, "depth": {"int": [1, 4]},
    "mlp_ratio": {"float": [1.0, 4.0]},
}  # fmt: skip
fingerprint = _tokens.fingerprint
LONGEST_WAVE = 10_000.0


class Config(TokenConfig):
    """Size of the network."""

    width: int = Field(96, ge=2, le=4096, description="channels of a token in the blocks")
    depth: int = Field(2, ge=1, le=64, description="blocks")
    heads: int = Field(4, ge=1, le=64, description="attention heads of a block; they must divide the width")
    mlp_ratio: float = Field(2.0, ge=0.25, le=8, description="hidden units of a block's perceptron, in token widths")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of features set to 0 in training")


class Stem(nn.Module):
    """Embeddings of tokens plus sinusoidal positions, for sentences of any length."""

    def __init__(
        self, tokens: InputSpec, embedding: int, width: int, dropout: float, pretrained: static.Package | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokens, self.width = Embedding(tokens, embedding, width, dropout, pretrained), width

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return `[batch, steps, width]`."""
        features: Tensor = self.tokens(tokens, mask)
        return features + positions(features.shape[1], self.width, features.device)


def positions(steps: int, width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of the step, `[steps, width]`, whose waves are 2 π to 20,000 π steps long."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(LONGEST_WAVE) / width))
    angles = torch.arange(steps, device=device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from tokens and their mask `[batch, steps]` to the logits of every label sequence.

    Raises `InputError` if the number of heads does not divide the width.
    """
    if config.width % config.heads:
        raise InputError(f"model 'transformer': {config.heads} heads do not divide a width of {config.width}.")
    stem = Stem(token_input("transformer", signature), config.embedding, config.width, config.dropout, config.pretrained)
    hidden = round(config.mlp_ratio * config.width)
    blocks = [Block(Attention(config.width, config.heads), config.width, hidden, config.dropout) for _ in range(config.depth)]
    return TokenNetwork(stem, blocks, config.width, signature)
