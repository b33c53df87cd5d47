"""Tensors and numbers as bytes, to be sent between processes or written as a checkpoint."""

from __future__ import annotations

import io
from typing import Any

import torch


def to_bytes(state: dict[str, Any]) -> bytes:
    """Return tensors and numbers by name as bytes, for `from_bytes`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(packed: bytes) -> dict[str, Any]:
    """Return the tensors and numbers that `to_bytes` packed; no code in them is run."""
    state: dict[str, Any] = torch.load(io.BytesIO(packed), weights_only=True)
    return state
