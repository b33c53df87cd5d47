"""Masks of padded sequences, and means over their real steps.

A network may output fewer steps than its input has: with a stride s, a power of two, ⌈length / s⌉ steps. A batch's own shapes
then tell the stride: there is no other power of two for which that is the number of steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import InputError


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean `[batch, …]` of `values` `[batch, steps, …]` over the steps of `mask` `[batch, steps]` (None: all).

    An example without steps has 0. Values at other steps change neither the mean nor its gradient, even if they are NaN.
    """
    if mask is None:
        return values.mean(dim=1)
    kept = mask[(..., *[None] * (values.ndim - 2))]
    return torch.where(kept, values, 0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def mask_of_steps(steps: int, *masks: Tensor | None) -> Tensor | None:
    """Return the first of `masks` `[batch, steps]` that has so many steps, otherwise the first at the stride that gives them.

    None if no mask has a stride that does.
    """
    given = [mask for mask in masks if mask is not None]
    if exact := [mask for mask in given if mask.shape[1] == steps]:
        return exact[0]
    return next((at_stride(mask, steps) for mask in given if stride_between(mask.shape[1], steps)), None)


def at_stride(mask: Tensor, steps: int) -> Tensor:
    """Return the mask `[batch, steps]` of an output whose steps stride over the positions of `mask`.

    An output step is real if its first position is. Raises `InputError` for a number of steps that no stride gives.
    """
    stride = stride_between(mask.shape[1], steps)
    if stride is None:
        raise InputError(
            f"the network gives {steps} steps for {mask.shape[1]} positions. The positions of a step must be a power of two: "
            "1, 2, 4, …, and the steps their number divided by it, rounded up."
        )
    return strided(mask, stride, steps)


def strided(mask: Tensor, stride: int, steps: int) -> Tensor:
    """Return the mask `[batch, steps]` of every `stride`-th position of `mask`, whose real positions come first.

    `mask[:, ::stride]` has the same values, but an exporter cannot prove that its length is that of a convolution's output.
    """
    lengths = (mask.sum(dim=1, keepdim=True) + stride - 1) // stride
    return torch.arange(steps, device=mask.device) < lengths


def stride_between(positions: int, steps: int) -> int | None:
    """Return the smallest power of two by which `positions`, divided and rounded up, are `steps`; None if there is none."""
    stride = 1
    while -(-positions // stride) > max(1, steps):
        stride *= 2
    return stride if -(-positions // stride) == steps else None
