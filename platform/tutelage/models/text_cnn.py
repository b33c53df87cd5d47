"""Residual convolutions over embeddings of tokens (Kim, 2014), which see as many neighbours as their kernels reach."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.models import _tokens, keep_width
from tutelage.models._tokens import Embedding, TokenConfig, TokenNetwork, token_input
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "embedding": {"int": [16, 96], "step": 16}, "width": {"int": [32, 160], "step": 32}, "depth": {"int": [1, 4]},
}  # fmt: skip
fingerprint = _tokens.fingerprint


class Config(TokenConfig):
    """Size of the network."""

    width: int = Field(96, ge=1, le=4096, description="channels of a convolution")
    depth: int = Field(3, ge=1, le=64, description="convolutions")
    kernel: int = Field(3, ge=1, le=31, description="tokens that a convolution sees, an odd number")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of features set to 0 in training")


class Convolution(nn.Module):
    """Layer norm, a convolution over steps and GELU, with a residual connection; padding is 0."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.convolution = keep_width(nn.Conv1d(width, width, kernel, padding=kernel // 2))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return `[batch, steps, width]`, 0 at padding."""
        real = mask.unsqueeze(-1)
        known = torch.where(real, self.norm(features), 0)
        changed = functional.gelu(self.convolution(known.transpose(1, 2)).transpose(1, 2))
        return torch.where(real, features + self.dropout(changed), 0)


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from tokens and their mask `[batch, steps]` to the logits of every label sequence.

    Raises `InputError` for a kernel of an even number of tokens.
    """
    if config.kernel % 2 == 0:
        raise InputError(f"model 'text_cnn': a kernel of {config.kernel} tokens has no middle. Choose an odd number.")
    stem = Embedding(token_input("text_cnn", signature), config.embedding, config.width, config.dropout, config.pretrained)
    stages = [Convolution(config.width, config.kernel, config.dropout) for _ in range(config.depth)]
    return TokenNetwork(stem, stages, config.width, signature)
