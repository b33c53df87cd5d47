"""The check that a network without some units has the same outputs as with these units at zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tutelage.errors import InputError
from tutelage.networks import forward

CLOSE = 1e-4  # relative to the largest output: the error of another order of floating-point sums


def outputs_of(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[Tensor]:
    """Return all output tensors of a network in evaluation mode. Raises `InputError` with the layer that fails."""
    return [one.float() for one in tree_leaves(forward.run(model, arguments)) if isinstance(one, Tensor)]


def equal_outputs(model: nn.Module, arguments: tuple[Tensor, ...], expected: Sequence[Tensor]) -> bool:
    """Return whether the network runs and has these outputs, up to rounding."""
    try:
        found = outputs_of(model, arguments)
    except InputError:
        return False
    return len(found) == len(expected) and all(_are_close(*pair) for pair in zip(expected, found, strict=True))


def _are_close(left: Tensor, right: Tensor) -> bool:
    scale = max(1.0, float(left.abs().max())) if left.numel() else 1.0
    return left.shape == right.shape and torch.allclose(left, right, atol=CLOSE * scale, rtol=0)
