"""Boxes `[…, 4]` as left, top, right and bottom: how much of two is common, suppression, and which find an object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 1e-9  # an area below which two boxes have nothing in common
LEAST_IOU = 0.5  # of a box with the object that it finds


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Return the intersection over the union of boxes, which broadcast against each other; 0 for boxes of no area."""
    common, union = _areas(one, other)
    return common / union.clamp(min=SMALLEST)


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Return the generalised IoU in [-1, 1]: the IoU less the share of the common hull that neither covers (Rezatofighi et al.,
    2019)."""
    common, union = _areas(one, other)
    hull = (torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])).prod(dim=-1)
    return common / union.clamp(min=SMALLEST) - (hull - union) / hull.clamp(min=SMALLEST)


def _areas(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    corners = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    common = corners.clamp(min=0).prod(dim=-1)
    own = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1) for boxes in (one, other)]
    return common, own[0] + own[1] - common


def suppressed(boxes: Tensor, classes: Tensor, most_iou: float) -> Tensor:
    """Return booleans `[batch, boxes]`, True for boxes that remain by greedy non-maximum suppression within each class.

    Boxes `[batch, boxes, 4]` are sorted, best first. A box is dropped if a better one that remains, of its class, has an IoU
    above `most_iou` with it.
    """
    overlaps = (iou(boxes.unsqueeze(2), boxes.unsqueeze(1)) > most_iou) & (classes.unsqueeze(2) == classes.unsqueeze(1))
    remain = torch.ones_like(classes, dtype=torch.bool)
    for place in range(boxes.shape[1] - 1):
        dropped = overlaps[:, place, place + 1 :] & remain[:, place : place + 1]
        remain[:, place + 1 :] &= ~dropped
    return remain


def right(boxes: Tensor, classes: Sequence[int], true: Tensor, true_classes: Sequence[int]) -> list[bool]:
    """Return for each box `[boxes, 4]`, best first, whether it finds an object `[objects, 4]` that no better one has found.

    That is an object of its class with which it has an IoU of 0.5 at least; of several, the one with the largest.
    """
    overlaps, left = iou(boxes.unsqueeze(1), true.unsqueeze(0)), set(range(len(true_classes)))
    found = []
    for place, own in enumerate(classes):
        fitting = [one for one in left if true_classes[one] == own and overlaps[place, one] >= LEAST_IOU]
        found.append(bool(fitting))
        left -= {max(fitting, key=lambda one: float(overlaps[place, one]))} if fitting else set()
    return found
