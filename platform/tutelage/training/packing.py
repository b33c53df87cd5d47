"""Tensors and numbers as bytes, to be sent between processes or written as a checkpoint."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch


def to_bytes(state: dict[str, Any]) -> bytes:
    """Return tensors and numbers by name as bytes, for `from_bytes`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(packed: bytes) -> dict[str, Any]:
    """Return the tensors and numbers that `to_bytes` packed, as `read` does."""
    return read(io.BytesIO(packed))


def read(file: Path | io.BytesIO) -> dict[str, Any]:
    """Return what `torch.save` wrote, with all tensors on the CPU; no code in it is run.

    They may have been on a GPU, which the process that reads them need not have.
    """
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state
