"""Resampling of maps and features from one grid of positions to another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.masks import stride_between


def regridded(maps: Tensor, grid: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Return maps `[batch, positions]` resampled from `grid` to `wanted`: averaged to a coarser grid, interpolated to a finer.

    A square number of tokens is treated as a square image. A grid of one position is repeated.
    """
    if grid == wanted:
        return maps
    return _resized(maps.unsqueeze(1), grid, wanted).squeeze(1)


def regridded_features(features: Tensor, grid: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Return features `[batch, positions, channels]` with each channel resampled as by `regridded`."""
    if grid == wanted:
        return features
    return _resized(features.transpose(1, 2), grid, wanted).to(features.dtype).transpose(1, 2)


def restepped(values: Tensor, mask: Tensor | None, wanted: int) -> Tensor:
    """Return a sequence `[batch, steps, …]` at another stride, with `wanted` steps; padding is 0.

    Coarser steps are means of the real ones that they cover; finer ones repeat them. Strides are powers of two
    (`tutelage.masks`), so an example's steps do not depend on the padding beside it.
    """
    steps = values.shape[1]
    if steps == wanted:
        return values
    if steps < wanted:
        ratio = stride_between(wanted, steps) or 1
        return values.repeat_interleave(ratio, dim=1)[:, :wanted]
    ratio = stride_between(steps, wanted) or 1
    real = values.new_ones(values.shape[:2]) if mask is None else mask.to(values.dtype)
    missing = ratio * wanted - steps
    sums, counts = (
        functional.pad(one, (*[0, 0] * (one.ndim - 2), 0, missing)).unflatten(1, (wanted, ratio)).sum(dim=2)
        for one in (values, real)
    )
    means: Tensor = sums / counts.clamp(min=1).view(*counts.shape, *[1] * (values.ndim - 2))
    return means


def _resized(rows: Tensor, grid: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """Return `[batch, channels, positions]` on another grid, in float32 or float64, with the same memory layout."""
    source, target = as_image(grid), as_image(wanted)
    image = (rows if rows.dtype == torch.float64 else rows.float()).unflatten(2, source)
    if all(new <= old for new, old in zip(target, source, strict=True)):
        return functional.adaptive_avg_pool2d(image, target).flatten(2)
    return functional.interpolate(image, target, mode="bilinear", align_corners=False).flatten(2)


def as_image(grid: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width of a grid; a square number of tokens is a square, any other number is one row."""
    if len(grid) == 2:
        return grid[0], grid[1]
    positions = grid[0] if grid else 1
    side = round(positions**0.5)
    return (side, side) if side * side == positions else (1, positions)
