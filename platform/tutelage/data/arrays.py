"""Examples and labels in NumPy files: the arrays of one .npz, or the .npy files of one folder."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tutelage.data import Examples, SplitName
from tutelage.data._splitting import (
    LabelledPerClass,
    Part,
    as_classes,
    as_inputs,
    as_labels,
    nothing_labelled,
    split_of,
    unknown_in,
    with_unknown,
)
from tutelage.errors import InputError, nearest
from tutelage.files import existing
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Which arrays hold what. A split that is given no arrays is drawn from `x` and `y`, with every class in its share."""

    path: str = Field(description="a .npz file, or a folder of .npy files, which are memory-mapped")
    x: str = Field("x", description="the name of the array of examples, [n, …]")
    y: str = Field(
        "y", description="the name of the array of labels, [n] or [n, 1]: whole numbers (-1: unknown) or text (empty: unknown)"
    )
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
    labelled_per_class: LabelledPerClass = None


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs uint8 or float32 `[n, …]` with the channels first, classes `[n]`.

    Rows of `y` without a label are training examples. The classes are those of `y`; of `y_validation`, if `y` has none.
    """
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
    class_names = _class_names(_labels(arrays[config.y], path, config.y), path, config)
    parts = {name: _part(arrays, path, *pair, config, class_names, name == "train") for name, pair in needed.items()}
    return split_of(
        split,
        seed,
        parts,
        class_names,
        None if config.x_validation else config.validation_share,
        None if config.x_test else config.test_share,
        config.per_class,
        config.labelled_per_class,
    )


def _class_names(labels: np.ndarray, path: Path, config: Config) -> tuple[str, ...]:
    unknown, where = unknown_in(labels), f"{path}, '{config.y}'"
    if not unknown.any():
        return as_classes(labels, where)
    if not unknown.all():
        return as_classes(labels[~unknown], f"{where} (where {unknown.sum():,} labels, -1 or empty, are unknown)")
    if config.y_validation is None:
        raise nothing_labelled(where, "Name arrays for validation and test (x_validation, y_validation, x_test, y_test).")
    given = _labels(_arrays(path, [config.y_validation])[config.y_validation], path, config.y_validation)
    return as_classes(given[~unknown_in(given)], f"{path}, '{config.y_validation}'")


def _part(
    arrays: dict[str, np.ndarray], path: Path, x: str, y: str, config: Config, class_names: Sequence[str], is_train: bool
) -> Part:
    values = _labels(arrays[y], path, y)
    unknown = unknown_in(values) & is_train
    labels = with_unknown(as_labels(values[~unknown], class_names, f"{path}, '{y}'"), unknown)
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
        raise InputError(
            f"{path}: not a .npz that can be read ({error}). Is it whole? Give a .npz, or a folder of .npy files."
        ) from error


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
    return as_inputs(inputs, f"{path}: '{name}'")
