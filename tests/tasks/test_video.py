"""Clips are classified as examples of other kinds are; a report shows them as strips."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from tutelage import plugins
from tutelage.data import Examples, Field, ragged
from tutelage.errors import InputError
from tutelage.tasks import signature
from tutelage.tasks.video import Video, strip_of


def example(count: int = 40) -> Examples:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 5, (count,), generator=generator).tolist()
    clips = [torch.randint(0, 256, (length, 1, 2, 3), dtype=torch.uint8, generator=generator) for length in lengths]
    return Examples(
        inputs={"frames": Field(values=ragged(clips), kind="frames", mean=(127.5,), std=(127.5,))},
        targets={"class": Field(values=torch.arange(count) % 3, kind="class", names=("a", "b", "c"))},
    )


def test_a_clip_has_one_class() -> None:
    made = signature(Video(), example())
    assert [(one.name, one.num_classes, one.steps) for one in made.outputs] == [("class", 3, None)]
    assert made.inputs[0].shape == ("frames_steps", 1, 2, 3)
    _, plugin, config = plugins.configure("data", "digits")
    with pytest.raises(InputError, match="the data have no clips"):
        Video().outputs(plugin.read(config, 0, "test"))
    lines = replace(example().inputs["frames"], values=ragged([torch.zeros(3, 1, 2)] * 40))
    with pytest.raises(InputError, match="the data have no clips"):
        Video().outputs(replace(example(), inputs={"columns": lines}))


def test_a_strip_has_the_frames_from_left_to_right_with_white_lines_between() -> None:
    frames = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert strip_of(frames).tolist() == [[[0, 0, 255, 1, 1, 255, 2, 2]] * 2]
    assert strip_of(frames.float()).tolist() == [[[0, 0, 2, 1, 1, 2, 2, 2]] * 2]


def test_a_long_clip_is_shown_from_its_first_frame_to_its_last() -> None:
    made = example()
    ramp = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 1, 64, 64)
    long = replace(made.head(1), inputs={"frames": replace(made.inputs["frames"], values=ragged([ramp]))})
    page = Video().show(long, {})
    assert page.startswith('<div class="wide"><img') and 'alt="12 of 100 frames"' in page
    encoded = re.search(r"base64,([^\"]+)", page)
    assert encoded is not None
    image = Image.open(io.BytesIO(base64.b64decode(encoded[1])))
    assert image.size == (12 * 64 + 11 * 2, 64)
    assert [image.getpixel((number * 66, 0)) for number in (0, 1, 11)] == [0, 9, 99]
