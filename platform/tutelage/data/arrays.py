"""Examples and labels from NumPy files: the arrays of one .npz, or the .npy files of one folder."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tutelage.data import Examples, SplitName
from tutelage.data._broken import read_all
from tutelage.data._labels import as_classes, as_labels, is_unlabelled, no_labels, with_unlabelled
from tutelage.data._memory import check_memory
from tutelage.data._splitting import LabelledPerClass, Part, as_inputs, split_of
from tutelage.errors import InputError, nearest
from tutelage.files import existing
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
_CHANNELS = (1, 2, 3, 4)  # of images


class Config(PluginConfig):
    """The arrays of each split. A split without arrays is drawn from `x` and `y`, stratified by class."""

    path: str = Field(description="a .npz file, or a folder of .npy files, which are memory-mapped")
    x: str = Field("x", description="the name of the array of examples, [n, …]")
    y: str = Field("y", description="the name of the array of labels, [n] or [n, 1]: integers, or text (blank: unlabelled)")
    minus_one: Literal["unlabelled", "class"] | None = Field(
        None, description="what the label -1 means; empty: unlabelled if no training example has another label, or an error"
    )
    x_validation: str | None = Field(None, description="the name of the validation examples, if they are stored separately")
    y_validation: str | None = Field(None, description="the name of the validation labels, if they are stored separately")
    x_test: str | None = Field(None, description="the name of the test examples, if they are stored separately")
    y_test: str | None = Field(None, description="the name of the test labels, if they are stored separately")
    layout: Literal["as_stored", "channels_last", "no_channel"] | None = Field(
        None,
        description="as_stored: channels or features are axis 1; channels_last: the last axis; no_channel: [n, height, width]; "
        "empty: as_stored, and an error for images that look otherwise",
    )
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of `x`, of each class, without validation arrays")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of `x`, of each class, without test arrays")
    per_class: int | None = Field(None, ge=1, description="limit of training examples a class; validation does not change")
    labelled_per_class: LabelledPerClass = None


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs uint8 or float32 `[n, channels, …]`, classes `[n]`.

    Unlabelled rows of `y` are training examples. The classes are those of `y`, or of `y_validation` if `y` has no labels.
    """
    names: dict[SplitName, tuple[str | None, str | None]] = {
        "train": (config.x, config.y),
        "validation": (config.x_validation, config.y_validation),
        "test": (config.x_test, config.y_test),
    }
    for name, (x, y) in names.items():
        if (x is None) != (y is None):
            raise InputError(f"{config.path}: the {name} split has only '{x or y}': name examples and labels together.")
    path = existing(config.path)
    needed = {name: (x, y) for name, (x, y) in names.items() if name in ("train", split) and x is not None and y is not None}
    stored = [name for pair in needed.values() for name in pair]
    others = {name for pair in names.values() for name in pair if name is not None} - set(stored)
    arrays = _arrays(path, stored, sorted(others))
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
    unknown, where = _unlabelled(labels, config), f"{path}, '{config.y}'"
    if labels.dtype.kind != "U" and config.minus_one is None and unknown.any() and not unknown.all():
        raise InputError(
            f"{where}: {unknown.sum():,} of its {len(labels):,} labels are -1, which may be a class or mean no label. "
            "Set 'minus_one: class' or 'minus_one: unlabelled'."
        )
    if not unknown.any():
        return as_classes(labels, where)
    if not unknown.all():
        return as_classes(labels[~unknown], f"{where} ({unknown.sum():,} of its rows are unlabelled: -1 or blank)")
    if config.y_validation is None:
        raise no_labels(where, "Name arrays for validation and test (x_validation, y_validation, x_test, y_test).")
    held_out = _labels(_arrays(path, [config.y_validation])[config.y_validation], path, config.y_validation)
    return as_classes(held_out[~_unlabelled(held_out, config)], f"{path}, '{config.y_validation}'")


def _unlabelled(labels: np.ndarray, config: Config) -> np.ndarray:
    """Return booleans, True for labels that mean "no label"."""
    is_class = config.minus_one == "class" and labels.dtype.kind != "U"
    return np.zeros(len(labels), dtype=bool) if is_class else is_unlabelled(labels)


def _part(
    arrays: dict[str, np.ndarray], path: Path, x: str, y: str, config: Config, class_names: Sequence[str], is_train: bool
) -> Part:
    values = _labels(arrays[y], path, y)
    unknown = _unlabelled(values, config) & is_train
    labels = with_unlabelled(as_labels(values[~unknown], class_names, f"{path}, '{y}'"), unknown)
    return Part(_inputs(arrays[x], path, x, config.layout), labels, f"{path}, '{x}'")


def _arrays(path: Path, names: Sequence[str], others: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return the arrays `names`. Raises `InputError` for all, also of the `others`, that do not exist or cannot be read."""
    stored = [item.stem for item in path.glob("*.npy")] if path.is_dir() else _members(path)
    reads = {name: partial(_array, path, name, stored) for name in (*names, *others)}
    found = read_all([reads[name] for name in names], [reads[name] for name in others], what="arrays")
    return dict(zip(names, found, strict=True))


def _array(path: Path, name: str, stored: Sequence[str]) -> np.ndarray:
    if name not in stored:
        listed = ", ".join(sorted(stored)) if stored else "no array"
        raise InputError(f"{path}: no array '{name}'.{nearest(name, stored)} It has {listed}.")
    try:
        if path.is_dir():
            return np.load(path / f"{name}.npy", mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]
        _check_member(path, name)
        with np.load(path, allow_pickle=False) as archive:
            found: np.ndarray = archive[name]
            return found
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        remedy = (
            "Store numbers or text: arrays of Python objects are not read."
            if "allow_pickle" in str(error)
            else "Is the file complete?"
        )
        raise InputError(f"{path}: the array '{name}' cannot be read ({error}). {remedy}") from error


def _check_member(path: Path, name: str) -> None:
    """Raise `InputError` if an array's header states other bytes than the archive has for it, or more than memory."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        size = archive.getinfo(f"{name}.npy").file_size
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
        needed = math.prod(shape) * dtype.itemsize
        stored = size - member.tell()
    if not dtype.hasobject and needed != stored:
        raise InputError(
            f"{path}: the header of the array '{name}' states {shape} {dtype}, {needed:,} bytes, and {stored:,} are stored. "
            "Is the file complete?"
        )
    check_memory(size, f"{path}, '{name}'")


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read as .npz ({error}). Give a complete .npz, or a folder of .npy files."
        ) from error
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path}: holds several arrays '{repeated[0]}'. Save it again with one.")
    return names


def _labels(labels: np.ndarray, path: Path, name: str) -> np.ndarray:
    if labels.dtype.kind not in "uibU" or labels.size != len(labels if labels.ndim else [0]) or not labels.ndim:
        raise InputError(f"{path}: the labels '{name}' are {labels.dtype} {labels.shape}; each row needs one integer or text.")
    return labels.reshape(-1)


def _inputs(inputs: np.ndarray, path: Path, name: str, layout: str | None) -> np.ndarray:
    if inputs.dtype.kind not in "uibf" or inputs.ndim < 2:
        raise InputError(f"{path}: the examples '{name}' are {inputs.dtype} {inputs.shape}; numbers [n, …] are needed.")
    if not all(inputs.shape[1:]):
        raise InputError(f"{path}: the examples '{name}' are {inputs.dtype} {inputs.shape}; an example has no number.")
    if layout is None and (likely := _likely_layout(inputs)):
        raise InputError(
            f"{path}: the examples '{name}' are {inputs.dtype} {inputs.shape}: axis 1 does not look like channels. Set "
            f"'layout: {likely}', or 'layout: as_stored' if it is."
        )
    if layout == "channels_last":
        inputs = np.moveaxis(inputs, -1, 1)
    elif layout == "no_channel":
        inputs = inputs[:, np.newaxis]
    return as_inputs(inputs, f"{path}: '{name}'")


def _likely_layout(inputs: np.ndarray) -> str:
    """Return the layout that images seem to have; "" where axis 1 may well be channels."""
    if inputs.ndim == 4 and inputs.shape[-1] in _CHANNELS and inputs.shape[1] not in _CHANNELS:
        return "channels_last"
    is_square = inputs.ndim == 3 and inputs.shape[1] == inputs.shape[2] > _CHANNELS[-1]
    return "no_channel" if is_square or (inputs.ndim == 3 and inputs.dtype == np.uint8) else ""
