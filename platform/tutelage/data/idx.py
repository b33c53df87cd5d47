"""Images and labels from IDX files, gzipped or not: MNIST and similar data sets (LeCun et al., 1998)."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from tutelage.data import Examples, SplitName
from tutelage.data._broken import read_all
from tutelage.data._labels import as_classes, as_labels
from tutelage.data._memory import MAX_RATIO, check_memory
from tutelage.data._splitting import LabelledPerClass, Part, as_inputs, split_of
from tutelage.errors import InputError
from tutelage.files import existing_folder
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # by the third byte of a file's header
_LONGEST_HEADER = 4 + 4 * 255  # bytes
_GZIP = 31  # zlib's wbits for the largest window and a gzip header
_HALVES: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}


class Config(PluginConfig):
    """The path of the files and the splits; the test split is the official one."""

    path: str = Field(description="the folder with train-images-idx3-ubyte, t10k-images-idx3-ubyte and their labels")
    prefix: str = Field("", description="the part of the files' names before 'train-images', such as 'emnist-letters-'")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the training images, of each class")
    per_class: int | None = Field(None, ge=1, description="limit of training images a class; validation does not change")
    labelled_per_class: LabelledPerClass = None


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs uint8 `[n, 1, height, width]` (float32 if the file has another type), classes `[n]`."""
    folder = existing_folder(config.path)
    wanted: tuple[SplitName, ...] = ("train", "test") if split == "test" else ("train",)
    reads = {
        half: (partial(_images, folder, config.prefix, half), partial(_labels, folder, config.prefix, half)) for half in _HALVES
    }
    others = [read for half in _HALVES if half not in wanted for read in reads[half]]
    stored = _pairs(read_all([read for half in wanted for read in reads[half]], others))
    class_names = as_classes(stored[0][1].array, str(stored[0][1].path))
    parts = read_all([partial(_part, images, labels, class_names) for images, labels in stored], what="halves")
    return split_of(
        split,
        seed,
        dict(zip(wanted, parts, strict=True)),
        class_names,
        config.validation_share,
        per_class=config.per_class,
        labelled_per_class=config.labelled_per_class,
    )


class _File(NamedTuple):
    path: Path
    array: np.ndarray


def _pairs(files: Sequence[_File]) -> list[tuple[_File, _File]]:
    return list(zip(files[::2], files[1::2], strict=True))


def _part(images: _File, labels: _File, class_names: Sequence[str]) -> Part:
    if len(images.array) != len(labels.array):
        raise InputError(
            f"{images.path}: has {len(images.array):,} examples and {labels.path.name} {len(labels.array):,} labels; each "
            "example needs one. Take both from the same archive."
        )
    return Part(images.array, as_labels(labels.array, class_names, str(labels.path)), str(labels.path))


def _images(folder: Path, prefix: str, half: SplitName) -> _File:
    path = _find(folder, prefix, half, "images")
    images = _read(path)
    if images.ndim < 3:
        raise InputError(f"{path}: has {images.ndim} dimensions; images [n, height, width] are needed. Is it the right file?")
    return _File(path, as_inputs(images[:, np.newaxis] if images.ndim == 3 else images, f"{path}: the file"))


def _labels(folder: Path, prefix: str, half: SplitName) -> _File:
    path = _find(folder, prefix, half, "labels")
    labels = _read(path)
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise InputError(f"{path}: labels must be integers [n]; this file has {labels.dtype} {labels.shape}.")
    return _File(path, labels)


def _find(folder: Path, prefix: str, half: SplitName, what: str) -> Path:
    pattern = re.compile(rf"{re.escape(prefix)}(?:{'|'.join(_HALVES[half])})-{what}[-.]idx\d-ubyte(?:\.gz)?")
    found = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    if found:
        return found[0]  # a file and its .gz have the same content; the unpacked one is sorted first
    expected = f"{prefix}{_HALVES[half][0]}-{what}-idx{3 if what == 'images' else 1}-ubyte"
    others = sorted(path.name for path in folder.iterdir() if f"{half}-{what}" in path.name)
    hint = f" There is {others[0]}: set 'prefix' to the part of its name before '{half}'." if others else ""
    raise InputError(f"{folder}: neither {expected} nor {expected}.gz exists.{hint}")


def _read(path: Path) -> np.ndarray:
    """Return the array in an IDX file. Raises `InputError` for another format or size, with the bytes that it needs and has.

    A gzipped file is unpacked no further than its header states.
    """
    is_packed = path.suffix == ".gz"
    start = _unpacked(path, _LONGEST_HEADER) if is_packed else np.fromfile(path, np.uint8, _LONGEST_HEADER)
    dtype, shape, first = _header(path, start)
    needed = first + math.prod(shape) * dtype.itemsize
    size = path.stat().st_size
    if is_packed and needed <= size * MAX_RATIO:
        check_memory(needed, str(path))
        content = _unpacked(path, needed + 1)
        size = len(content)
    elif not is_packed and size == needed:
        content = np.memmap(path, np.uint8, mode="c")
    if size != needed:
        why = "cut off" if size < needed else "longer than its header states"
        values = " × ".join(str(length) for length in shape)
        has = f"at least {size:,}" if is_packed and size > needed else f"{size:,}"
        raise InputError(f"{path}: {why}: {values} values need {needed:,} bytes unpacked, and it has {has}. Download it again.")
    return np.asarray(content)[first:].view(dtype).reshape(shape)


def _header(path: Path, start: np.ndarray) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return what the first bytes of an IDX file state: the type and shape of its array, and where that begins."""
    dims = int(start[3]) if len(start) > 3 else 1
    first = 4 + 4 * dims
    if len(start) > 3 and (start[0] or start[1] or int(start[2]) not in _DTYPES or not dims):
        raise InputError(f"{path}: not an IDX file: it begins with {bytes(start[:4]).hex(' ')}. Is it the right file?")
    if len(start) < first:
        raise InputError(f"{path}: cut off in its header: it has {len(start)} bytes and needs {first}. Download it again.")
    shape = tuple(int(size) for size in start[4:first].view(">u4"))
    return np.dtype(_DTYPES[int(start[2])]), shape, first


def _unpacked(path: Path, at_most: int) -> np.ndarray:
    """Return the first `at_most` bytes of a gzipped file, or all that it has if it is cut off."""
    packed, content = path.read_bytes(), bytearray()
    try:
        while packed and len(content) < at_most:
            stream = zlib.decompressobj(wbits=_GZIP)
            content += stream.decompress(packed, at_most - len(content))
            packed = stream.unused_data
    except zlib.error as error:
        raise InputError(f"{path}: cannot be read as gzip ({error}). Download it again.") from error
    return np.frombuffer(content, np.uint8)
