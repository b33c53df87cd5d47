"""Cells of a detector: where they are in an image, which objects they belong to, and boxes from their distances to the edges.

A detector has a grid of cells at one or several strides, powers of two, each twice the one before. Its label sequences have
the cells of the smallest stride first, row by row. The number of cells of an image gives its strides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.errors import InputError

LARGEST = 8.0  # strides: the longest side of a box that belongs to the cells of a stride, unless it is the largest stride
NEAR = 1.5  # strides: how far a cell of an object may be from the middle of its box (FCOS's centre sampling; Tian et al., 2019)


class Cells(NamedTuple):
    """The cells of an image: their middles `[cells, 2]` as (x, y) in pixels, and their strides `[cells]` in pixels."""

    middles: Tensor
    strides: Tensor


class Assigned(NamedTuple):
    """What the cells of a batch belong to: the row `[batch, cells]` of an object in its image, -1 for none, and the distances
    `[batch, cells, 4]` of a cell's middle from the object's left, top, right and bottom edge, in strides."""

    objects: Tensor
    distances: Tensor


@lru_cache(maxsize=64)
def strides_of(cells: int, height: int, width: int) -> tuple[int, ...]:
    """Return the strides, smallest first, whose grids over an image have so many cells together.

    Raises `InputError` if there are none.
    """
    first = 1
    while first < 2 * max(height, width):  # the largest stride has one cell
        found, total = list[int](), 0
        while total < cells and (not found or found[-1] < max(height, width)):
            found.append(first * 2 ** len(found))
            total += -(-height // found[-1]) * -(-width // found[-1])
        if total == cells:
            return tuple(found)
        first *= 2
    raise InputError(
        f"the network gives {cells} cells for an image of {height} × {width} px. They must be those of strides that are powers "
        "of two, such as 8, or 8 and 16: a cell for each 8 × 8 px."
    )


def cells_of(cells: int, height: int, width: int, device: torch.device | str = "cpu") -> Cells:
    """Return the cells of an image, in float32. Raises as `strides_of`."""
    middles, strides = [], []
    for stride in strides_of(cells, height, width):
        rows, columns = (torch.arange(-(-side // stride), device=device) for side in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        middles.append((torch.stack([x, y], dim=-1).flatten(0, 1).float() + 0.5) * stride)
        strides.append(torch.full((len(middles[-1]),), float(stride), device=device))
    return Cells(torch.cat(middles), torch.cat(strides))


def assigned(cells: Cells, boxes: Tensor, is_real: Tensor) -> Assigned:
    """Return the object of each cell for boxes `[batch, objects, 4]` in pixels, of which `is_real` `[batch, objects]` count.

    A cell belongs to an object if its middle is in the box, within 1.5 strides of the box's middle, and its stride is that of
    the box: the smallest of which 8 are as long as the longest side. An object without such a cell has the nearest of that
    stride. A cell of several objects belongs to the smallest one.
    """
    boxes = boxes.where(is_real.unsqueeze(-1), 0.0).to(cells.middles.dtype)
    distances = _distances(cells, boxes)
    away = (cells.middles - (boxes[..., None, :2] + boxes[..., None, 2:]) / 2).abs().amax(dim=-1)  # [batch, objects, cells]
    sides, strides = (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1, keepdim=True), cells.strides.unique()
    wanted = own_strides(sides, strides)
    fits = (wanted == cells.strides) & is_real.unsqueeze(-1)
    belongs = fits & (distances.amin(dim=-1) > 0) & (away <= NEAR * cells.strides)
    nearest = away.masked_fill(~fits, torch.inf).argmin(dim=-1, keepdim=True)
    forced = torch.zeros_like(belongs).scatter_(-1, nearest, fits.any(dim=-1, keepdim=True))
    belongs |= forced & ~belongs.any(dim=-1, keepdim=True)
    areas = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1).unsqueeze(-1)
    smallest, chosen = areas.expand_as(away).masked_fill(~belongs, torch.inf).min(dim=1)
    picked = distances.gather(1, chosen[:, None, :, None].expand(-1, 1, -1, 4)).squeeze(1) / cells.strides.unsqueeze(-1)
    return Assigned(chosen.where(smallest.isfinite(), -1), picked)


def own_strides(longest: Tensor, strides: Tensor) -> Tensor:
    """Return the stride that each box belongs to, by its longest side: the smallest of which 8 are as long, or the largest."""
    return strides[torch.bucketize(longest / LARGEST, strides).clamp(max=len(strides) - 1)]


def _distances(cells: Cells, boxes: Tensor) -> Tensor:
    """Return the distances `[batch, objects, cells, 4]` in pixels of the cells' middles from each box's edges, inwards."""
    inner = boxes.unsqueeze(2)
    return torch.cat([cells.middles - inner[..., :2], inner[..., 2:] - cells.middles], dim=-1)


def boxes_from(distances: Tensor, cells: Cells) -> Tensor:
    """Return boxes `[batch, cells, 4]` in pixels from the distances of the cells' middles to the edges, in strides."""
    pixels = distances * cells.strides.unsqueeze(-1).to(distances.dtype)
    middles = cells.middles.to(distances.dtype)
    return torch.cat([middles - pixels[..., :2], middles + pixels[..., 2:]], dim=-1)


def expected(logits: Tensor) -> Tensor:
    """Return mean distances `[batch, cells, 4]` in strides, from edge logits `[batch, 4 * cells, bins]`; bin i is i strides."""
    shares = logits.softmax(dim=-1)
    means: Tensor = (shares @ torch.arange(logits.shape[-1], dtype=shares.dtype, device=shares.device)).unflatten(1, (-1, 4))
    return means


def neighbours(distances: Tensor, bins: int) -> Tensor:
    """Return the distribution `[…, bins]` of a distance: that over the two bins beside it whose mean it is.

    This is the target of the distribution focal loss (Li et al., 2020). Distances below 0 and above the last bin are those of
    the first and the last.
    """
    held = distances.clamp(0, bins - 1)
    low = held.floor().clamp(max=bins - 2)
    index, share = low.long().unsqueeze(-1), (held - low).unsqueeze(-1)
    zeros = held.new_zeros(*held.shape, bins)
    return zeros.scatter(-1, index, 1 - share).scatter(-1, index + 1, share)
