"""Recurrent layers that read texts in one direction, or in both; the backward one starts at a text's last real token."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.models._tokens import Embedding, TokenConfig, TokenNetwork, token_input
from tutelage.signature import Signature

Kind = type[nn.LSTM] | type[nn.GRU]
RANGES: dict[str, dict[str, object]] = {
    "embedding": {"int": [16, 96], "step": 16}, "hidden": {"int": [16, 128], "step": 16}, "depth": {"int": [1, 2]},
}  # fmt: skip


class RecurrentConfig(TokenConfig):
    """Size of the network."""

    hidden: int = Field(64, ge=1, le=4096, description="hidden units of a layer in each of its directions")
    depth: int = Field(1, ge=1, le=16, description="recurrent layers")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of features set to 0 in training, before and behind each layer")


class Forward(nn.Module):
    """One recurrent layer that reads from first to last, `[batch, steps, channels]` → `[batch, steps, hidden]`."""

    directions = 1

    def __init__(self, kind: Kind, fan_in: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.forwards, self.dropout = kind(fan_in, hidden, batch_first=True), nn.Dropout(dropout)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return the states, 0 at padding."""
        dropped: Tensor = self.dropout(self.forwards(features)[0])
        return torch.where(mask.unsqueeze(-1), dropped, 0)


class Bidirectional(nn.Module):
    """One recurrent layer in each direction, `[batch, steps, channels]` → `[batch, steps, 2 * hidden]`."""

    directions = 2

    def __init__(self, kind: Kind, fan_in: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.forwards, self.backwards = (kind(fan_in, hidden, batch_first=True) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return the states of both directions, 0 at padding."""
        order = reversed_steps(mask).unsqueeze(-1)
        ahead, _ = self.forwards(features)
        back, _ = self.backwards(features.gather(1, order.expand_as(features)))
        states = torch.cat([ahead, back.gather(1, order.expand_as(back))], dim=-1)
        dropped: Tensor = self.dropout(states)
        return torch.where(mask.unsqueeze(-1), dropped, 0)


def reversed_steps(mask: Tensor) -> Tensor:
    """Return the steps `[batch, steps]` in reverse order for the real ones, which stand first; padding keeps its place."""
    steps = torch.arange(mask.shape[1], device=mask.device)
    lengths = mask.sum(dim=1, keepdim=True)
    return torch.where(steps < lengths, lengths - 1 - steps, steps)


def built(
    name: str, kind: Kind, config: RecurrentConfig, signature: Signature, layer: type[Forward] | type[Bidirectional]
) -> nn.Module:  # fmt: skip
    """Return the network: embeddings, `depth` stages of `layer` and the heads."""
    tokens = token_input(name, signature, is_causal=layer is Forward)
    stem = Embedding(tokens, config.embedding, config.embedding, config.dropout, config.pretrained)
    width = layer.directions * config.hidden
    fans = [config.embedding, *[width] * (config.depth - 1)]
    stages = [layer(kind, fan_in, config.hidden, config.dropout) for fan_in in fans]
    return TokenNetwork(stem, stages, width, signature, is_normed=layer is Bidirectional)
