"""Video classification: one class a clip, whose frames may differ in number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.data import Examples
from tutelage.errors import InputError
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec
from tutelage.tasks import Sequences
from tutelage.tasks._classification import NAME, Classification
from tutelage.tasks._html import picture, wide

SPACE: dict[str, dict[str, object]] = {}
SHOWN_FRAMES = 12
GAP_SHARE = 28  # a frame is so many times as high as the line between two frames is wide


class Config(PluginConfig):
    """Video classification has no options."""


def build(config: Config) -> Video:
    """Return the task."""
    return Video()


class Video(Classification):
    """Classification of clips; the primary measure is accuracy."""

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return the label sequence `class`, which has one step. Raises `InputError` for examples without frames or a class."""
        if NAME not in examples.targets or not any(one.is_ragged and len(one.shape) == 4 for one in examples.input_specs):
            raise InputError(
                "task 'video': the data have no clips [frames, channels, height, width] with one class each. The sources "
                "`clip_folder` and `digit_clips` have them."
            )
        return super().outputs(examples)

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return a strip of frames, and a table of the true class and each network's most probable ones.

        Of a long clip, frames at equal distances are shown, the first and the last among them.
        """
        (clip,) = [one for one in example.inputs.values() if one.is_ragged]
        frames = clip.take(slice(None))[0][0]
        shown = torch.linspace(0, len(frames) - 1, min(len(frames), SHOWN_FRAMES)).round().long()
        alt = f"{len(shown)} of {len(frames)} frames"
        return wide(picture(strip_of(frames[shown]), alt)) + super().show(example, outputs)


def strip_of(frames: Tensor) -> Tensor:
    """Return frames `[frames, channels, height, width]` side by side with white lines between, `[channels, height, width]`."""
    white = frames.max() if frames.dtype != torch.uint8 else 255
    gap = max(1, frames.shape[2] // GAP_SHARE)
    return functional.pad(frames, (0, gap), value=float(white)).permute(1, 2, 0, 3).flatten(2)[..., :-gap]
