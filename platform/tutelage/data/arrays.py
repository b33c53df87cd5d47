"""Examples and labels in NumPy files: the arrays of one .npz, or the .npy files of one folder."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from tutelage.data import Split, SplitName
from tutelage.errors import InputError, nearest
from tutelage.files import existing
from tutelage.plugins import PluginConfig
from tutelage.splitting import Part, as_classes, as_labels, split_of

SPACE: dict[str, dict[str, object]] = {}
_CHECKED_ROWS = 4096


class Config(PluginConfig):
    """Which arrays hold what. A split that is given no arrays is drawn from `x` and `y`, with every class in its share."""

    path: str = Field(description="a .npz file, or a folder of .npy files, which are memory-mapped")
    x: str = Field("x", description="the name of the array of examples, [n, …]")
    y: str = Field("y", description="the name of the array of labels, [n] or [n, 1]: whole numbers or text")
    x_validation: str | None = Field(None, description="the name of the validation examples, if they are given")
    y_validation: str | None = Field(None, description="the name of the validation labels, if they are given")
    x_test: str | None = Field(None, description="the name of the test examples, if they are given")
    y_test: str | None = Field(None, description="the name of the test labels, if they are given")
    layout: Literal["as_stored", "channels_last", "no_channel"] = Field(
        "as_stored",
        description="as_stored: channels (or features) come first in an example; no_channel: grey [n, height, width]",
    )
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of `x`, of each class, if validation is not given")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of `x`, of each class, if test is not given")
    per_class: int | None = Field(None, ge=1, description="most training examples of a class; validation keeps its own")


def read(config: Config, seed: int, split: SplitName) -> Split:
    """Return one split: inputs uint8 or float32 `[n, …]` with the channels first, labels `[n, 1]`."""
    names: dict[SplitName, tuple[str | None, str | None]] = {
        "train": (config.x, config.y),
        "validation": (config.x_validation, config.y_validation),
        "test": (config.x_test, config.y_test),
    }
    for given in names.values():
        if (given[0] is None) != (given[1] is None):
            raise InputError(
                f"{config.path}: '{given[0] or given[1]}' needs its other half: name examples and labels together."
            )
    path = existing(config.path)
    needed = {name: (x, y) for name, (x, y) in names.items() if name in ("train", split) and x is not None and y is not None}
    arrays = _arrays(path, [name for pair in needed.values() for name in pair])
    class_names = as_classes(_labels(arrays[config.y], path, config.y), f"{path}, '{config.y}'")
    parts = {name: _part(arrays, path, *pair, config, class_names) for name, pair in needed.items()}
    return split_of(
        split,
        seed,
        parts,
        class_names,
        None if config.x_validation else config.validation_share,
        None if config.x_test else config.test_share,
        config.per_class,
    )


def _part(arrays: dict[str, np.ndarray], path: Path, x: str, y: str, config: Config, class_names: Sequence[str]) -> Part:
    labels = as_labels(_labels(arrays[y], path, y), class_names, f"{path}, '{y}'")
    return Part(_inputs(arrays[x], path, x, config.layout), labels, f"{path}, '{x}'")


def _arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Return the arrays called `names`; `InputError` for one that is not there or cannot be read."""
    known = [item.stem for item in path.glob("*.npy")] if path.is_dir() else _members(path)
    found = {}
    for name in names:
        if name not in known:
            held = f"holds {', '.join(sorted(known))}" if known else "holds no array"
            raise InputError(f"{path}: no array '{name}'.{nearest(name, known)} It {held}.")
        try:
            if path.is_dir():
                found[name] = np.load(path / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            else:
                with np.load(path, allow_pickle=False) as archive:
                    found[name] = archive[name]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            way = (
                "Store numbers or text: arrays of Python objects are not read."
                if "allow_pickle" in str(error)
                else "Is it whole?"
            )
            raise InputError(f"{path}: the array '{name}' cannot be read ({error}). {way}") from error
    return found


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a .npz that can be read ({error}). Give a .npz, or a folder of .npy files.") from error


def _labels(labels: np.ndarray, path: Path, name: str) -> np.ndarray:
    if labels.dtype.kind not in "uibU" or labels.size != len(labels if labels.ndim else [0]) or not labels.ndim:
        raise InputError(
            f"{path}: the labels '{name}' are {labels.dtype} {labels.shape}; one whole number or text a row is needed."
        )
    return labels.reshape(-1)


def _inputs(inputs: np.ndarray, path: Path, name: str, layout: str) -> np.ndarray:
    if inputs.dtype.kind not in "uibf" or inputs.ndim < 2:
        raise InputError(f"{path}: the examples '{name}' are {inputs.dtype} {inputs.shape}; numbers [n, …] are needed.")
    if layout == "channels_last":
        inputs = np.moveaxis(inputs, -1, 1)
    elif layout == "no_channel":
        inputs = inputs[:, np.newaxis]
    if inputs.dtype == np.uint8:
        return inputs
    for start in range(0, len(inputs), _CHECKED_ROWS):
        chunk: Any = inputs[start : start + _CHECKED_ROWS].reshape(len(inputs[start : start + _CHECKED_ROWS]), -1)
        wrong = np.argwhere(~np.isfinite(chunk))
        if len(wrong):
            row, column = wrong[0]
            raise InputError(
                f"{path}: '{name}' holds {chunk[row, column]} in row {start + row} (the first is 0). "
                "Fill it in, or take the row out."
            )
    return inputs.astype(np.float32, copy=False)
