"""Unit vectors and relative distances, in sufficient precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def precise(tensor: Tensor) -> Tensor:
    """Return a tensor in float32; a float64 tensor stays float64."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def adapted(adapter: nn.Module, features: Tensor) -> Tensor:
    """Return features behind an adapter, an identity or a linear layer, in the layer's precision."""
    weight = getattr(adapter, "weight", None)
    found: Tensor = adapter(features if weight is None else features.to(weight.dtype))
    return found


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Return vectors scaled to length 1 along `dim`; a zero vector stays 0 and has no gradient.

    A vector counts as zero if its squared length underflows: below √(smallest normal number), 1.1e-19 in float32.
    """
    length: Tensor = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    has_length = length > torch.finfo(vectors.dtype).tiny ** 0.5
    return vectors.where(has_length, 0.0) / length.where(has_length, 1.0)


def relative(distance: Tensor, size: Tensor) -> Tensor:
    """Return distance / size; the distance itself if the size is 0, as of a teacher whose features are all 0.

    Both are sums or means of squares. A size counts as zero below √(smallest normal float32), 1.1e-19.
    """
    return distance / size.where(size > torch.finfo(torch.float32).tiny ** 0.5, 1.0)
