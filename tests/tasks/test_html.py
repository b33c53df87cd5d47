"""Tables and pictures of examples: text is escaped, and an image's pixels are those of the example."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.tasks._html import Cell, picture, table


def pixels_of(shown: str) -> np.ndarray:
    found = re.search(r'base64,([^"]+)"', shown)
    assert found
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found.group(1)))))


def test_a_table_escapes_text_and_marks_wrong_cells() -> None:
    shown = table({"<b>": [Cell("a & b"), Cell("<i>", is_wrong=True)]})
    assert "<th>&lt;b&gt;</th><td>a &amp; b</td><td><mark>&lt;i&gt;</mark></td>" in shown
    assert "<i>" not in shown and "<b>" not in shown


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_bytes_shows_them_as_they_are(channels: int) -> None:
    pixels = torch.arange(channels * 6, dtype=torch.uint8).reshape(channels, 2, 3) + 100
    assert (pixels_of(picture(pixels, "x")) == pixels.permute(1, 2, 0).squeeze(2).numpy()).all()


def test_a_picture_of_other_numbers_goes_from_black_to_white() -> None:
    shown = pixels_of(picture(torch.tensor([[[-2.0, 0.0, 2.0]]]), "x"))
    assert shown.tolist() == [[0, 128, 255]]
    assert pixels_of(picture(torch.full((1, 1, 2), 7.0), "x")).tolist() == [[0, 0]], "of equal numbers all are black"


def test_a_pictures_description_is_escaped() -> None:
    assert 'alt="&quot;&gt;&lt;svg&gt;"' in picture(torch.zeros(1, 2, 2), '"><svg>')
