"""Parts of an example in a sweep's report as safe HTML: rows of texts in columns, and pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

HEIGHT_PX = 64


class Cell(NamedTuple):
    """A text, and whether it is marked as wrong."""

    text: str
    is_wrong: bool = False


def table(rows: Mapping[str, Sequence[Cell]]) -> str:
    """Return the rows by their titles as a table that scrolls where it is too wide; wrong cells are marked."""
    body = "".join(f"<tr><th>{html.escape(title)}</th>{''.join(map(_cell, cells))}</tr>" for title, cells in rows.items())
    return wide(f'<table class="example">{body}</table>')


def wide(part: str) -> str:
    """Return a part of a page that scrolls where it is wider than the page."""
    return f'<div class="wide">{part}</div>'


def _cell(cell: Cell) -> str:
    text = html.escape(cell.text)
    return f"<td><mark>{text}</mark></td>" if cell.is_wrong else f"<td>{text}</td>"


def picture(pixels: Tensor, alt: str) -> str:
    """Return an image `[channels, height, width]` of 1 or 3 channels as an embedded PNG, 64 px high or higher.

    uint8 is shown as it is; other numbers are scaled so that the smallest is black and the largest is white.
    """
    if pixels.dtype != torch.uint8:
        shifted = pixels.float() - pixels.min()
        pixels = (shifted * (255 / shifted.max().clamp(min=1e-12))).round().to(torch.uint8)
    colours = pixels.permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(colours if colours.shape[2] == 3 else colours[:, :, 0]).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    height = max(HEIGHT_PX, pixels.shape[1])
    return f'<img class="example" alt="{html.escape(alt)}" height="{height}" src="data:image/png;base64,{data}">'


def captioned(part: str, caption: str) -> str:
    """Return a picture with a caption below it."""
    return f'<figure class="example">{part}<figcaption>{html.escape(caption)}</figcaption></figure>'
