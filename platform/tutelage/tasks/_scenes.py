"""Pictures of images with boxes in them, for a sweep's report."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_PX = 160  # height of a picture, at least
RIGHT, WRONG = (86, 180, 233), (255, 140, 0)  # colours of boxes: blue and orange


def outlined(image: Tensor, boxes: Tensor, is_right: Sequence[bool]) -> Tensor:
    """Return an image `[channels, height, width]` of 1 or 3 channels as uint8 `[3, …]`, enlarged, with an outline for each box.

    Boxes `[boxes, 4]` are left, top, right and bottom in pixels of the image; right ones are blue, and wrong ones orange.
    """
    if image.dtype != torch.uint8:
        shifted = image.float() - image.min()
        image = (shifted * (255 / shifted.max().clamp(min=1e-12))).round().to(torch.uint8)
    scale = max(1, -(-LEAST_PX // image.shape[1]))
    large = image[:3].cpu().repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    drawn = large.expand(3, -1, -1).clone() if len(large) == 1 else large
    for own, (left, top, right, bottom) in zip(is_right, (boxes.cpu() * scale).round().long().tolist(), strict=True):
        colour = torch.tensor(RIGHT if own else WRONG, dtype=torch.uint8).view(3, 1, 1)
        _outline(drawn, colour, max(0, left), max(0, top), min(right, drawn.shape[2]) - 1, min(bottom, drawn.shape[1]) - 1)
    return drawn


def _outline(image: Tensor, colour: Tensor, left: int, top: int, right: int, bottom: int) -> None:
    if left > right or top > bottom:
        return
    for row in (top, bottom):
        image[:, row : row + 1, left : right + 1] = colour
    for column in (left, right):
        image[:, top : bottom + 1, column : column + 1] = colour
