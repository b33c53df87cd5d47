"""Means over the real steps of padded sequences."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean `[batch, …]` of `values` `[batch, steps, …]` over the steps of `mask` `[batch, steps]` (None: all).

    An example without steps has 0. Values at other steps change neither the mean nor its gradient, even if they are NaN.
    """
    if mask is None:
        return values.mean(dim=1)
    kept = mask[(..., *[None] * (values.ndim - 2))]
    return torch.where(kept, values, 0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def mask_of_steps(steps: int, *masks: Tensor | None) -> Tensor | None:
    """Return the first of `masks` `[batch, steps]` that has so many steps; None if no mask has."""
    return next((mask for mask in masks if mask is not None and mask.shape[1] == steps), None)
