"""Video classification: one class a clip, whose frames may differ in number."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tutelage.data import Examples
from tutelage.errors import InputError
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec
from tutelage.tasks import Sequences
from tutelage.tasks._classification import NAME, Classification
from tutelage.tasks._html import picture

SPACE: dict[str, dict[str, object]] = {}
SHOWN_FRAMES = 12


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
        """Return a strip of the first frames, and a table of the true class and each network's most probable ones."""
        (clip,) = [one for one in example.inputs.values() if one.is_ragged]
        frames = clip.take(slice(None))[0][0]
        return picture(strip_of(frames[:SHOWN_FRAMES]), "frames") + super().show(example, outputs)


def strip_of(frames: Tensor) -> Tensor:
    """Return frames `[frames, channels, height, width]` side by side, `[channels, height, frames * width]`."""
    return frames.permute(1, 2, 0, 3).flatten(2)
