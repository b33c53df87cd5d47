"""A bidirectional GRU over embeddings of tokens (Cho et al., 2014)."""

from __future__ import annotations

from torch import nn

from tutelage.models import _tokens
from tutelage.models._recurrent import RANGES, Bidirectional, RecurrentConfig, built
from tutelage.signature import Signature

SPACE = RANGES
fingerprint = _tokens.fingerprint


class Config(RecurrentConfig):
    """Size of the network."""


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from tokens and their mask `[batch, steps]` to the logits of every label sequence."""
    return built("bigru", nn.GRU, config, signature, Bidirectional)
