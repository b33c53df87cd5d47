"""A bidirectional LSTM over embeddings of tokens (Hochreiter and Schmidhuber, 1997; Graves and Schmidhuber, 2005)."""

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
    return built("bilstm", nn.LSTM, config, signature, Bidirectional)
