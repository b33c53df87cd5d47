"""Resampling of maps and features from one grid of positions to another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
