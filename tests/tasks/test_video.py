"""Clips are classified as examples of other kinds are; a report shows them as strips."""

from __future__ import annotations

import pytest
import torch

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


def test_a_strip_has_the_frames_from_left_to_right() -> None:
    frames = torch.arange(3).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert strip_of(frames).tolist() == [[[0, 0, 1, 1, 2, 2]] * 2]
