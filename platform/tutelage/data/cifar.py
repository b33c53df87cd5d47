"""CIFAR-10 and CIFAR-100, 32×32 colour photographs, in the official Python or binary layout (Krizhevsky, 2009)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from tutelage.data import Examples, SplitName, _safe_pickle
from tutelage.data._broken import attempt, read_all
from tutelage.data._labels import check_classes, check_labels
from tutelage.data._splitting import LabelledPerClass, Part, split_of
from tutelage.errors import InputError
from tutelage.files import existing_folder
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
Kind = Literal["fine", "coarse"]


class Config(PluginConfig):
    """The path of the photographs and the splits; the test split is the official one."""

    path: str = Field(description="the folder of the unpacked archive, such as cifar-100-python")
    labels: Kind = Field("fine", description="the 100 fine or the 20 coarse classes; CIFAR-10 has fine ones only")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the official training images, of each class")
    per_class: int | None = Field(None, ge=1, description="limit of training images a class; validation does not change")
    labelled_per_class: LabelledPerClass = None


class _Layout(NamedTuple):
    train: tuple[str, ...]
    test: str
    names: dict[Kind, str]  # the file with the class names
    label_bytes: int = 0  # of each record, before its pixels; 0 for pickles


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

_LAYOUTS = (
    _Layout(("train",), "test", {"fine": "meta", "coarse": "meta"}),
    _Layout(_BATCHES, "test_batch", {"fine": "batches.meta"}),
    _Layout(("train.bin",), "test.bin", {"fine": "fine_label_names.txt", "coarse": "coarse_label_names.txt"}, 2),
    _Layout(tuple(f"{name}.bin" for name in _BATCHES), "test_batch.bin", {"fine": "batches.meta.txt"}, 1),
)


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs uint8 `[n, 3, 32, 32]`, classes `[n]`."""
    folder = existing_folder(config.path)
    layout = _layout(folder)
    if config.labels not in layout.names:
        raise InputError(f"{folder}: CIFAR-10 has no {config.labels} classes. Leave 'labels' out.")
    class_names = attempt(lambda: _class_names(folder / layout.names[config.labels], config.labels))
    num_classes = None if isinstance(class_names, InputError) else len(class_names)
    reads = {name: partial(_part, folder / name, layout, config.labels, num_classes) for name in (*layout.train, layout.test)}
    others = () if split == "test" else (layout.test,)
    wanted = [read for name, read in reads.items() if name not in others]
    files = read_all(wanted, [reads[name] for name in others], before=[class_names])
    assert not isinstance(class_names, InputError), "it is among those before"
    parts: dict[SplitName, Part] = {"train": _joined(files[: len(layout.train)])}
    if split == "test":
        parts["test"] = files[-1]
    return split_of(
        split,
        seed,
        parts,
        class_names,
        config.validation_share,
        per_class=config.per_class,
        labelled_per_class=config.labelled_per_class,
    )


def _layout(folder: Path) -> _Layout:
    """Return the layout of which a file of examples is there; what else of it is missing is found on reading."""
    for layout in _LAYOUTS:
        if any((folder / name).is_file() for name in (*layout.train, layout.test)):
            return layout
    inner = [path.name for path in sorted(folder.iterdir()) if path.name.startswith("cifar-") and path.is_dir()]
    hint = f" Did you mean '{folder / inner[0]}'?" if inner else ""
    expected = ", or ".join(f"{layout.train[0]} and {layout.test}" for layout in _LAYOUTS)
    raise InputError(f"{folder}: neither CIFAR-10 nor CIFAR-100. Expected files: {expected}.{hint}")


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: missing. Unpack the complete archive again.")


def _class_names(path: Path, kind: Kind) -> tuple[str, ...]:
    _check_there(path)
    if path.suffix == ".txt":
        names = path.read_bytes().decode(errors="replace").split()
    else:
        meta = _safe_pickle.read(path)
        found = meta.get(f"{kind}_label_names", meta.get("label_names"))
        if not isinstance(found, list):
            raise InputError(f"{path}: has no list {kind}_label_names. Take the file from the official archive.")
        names = [name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in found]
    check_classes(names, str(path))
    return tuple(names)


def _part(path: Path, layout: _Layout, kind: Kind, num_classes: int | None) -> Part:
    """Return the examples of a file; with `num_classes`, its labels are checked."""
    _check_there(path)
    pixels, labels = _records(path, layout.label_bytes, kind) if layout.label_bytes else _batch(path, kind)
    if len(pixels) != len(labels):
        raise InputError(f"{path}: has {len(pixels):,} images and {len(labels):,} labels. Take the official file.")
    if num_classes is not None:
        check_labels(labels, num_classes, str(path))
    return Part(pixels.reshape(-1, *_SHAPE), labels.astype(np.int64), str(path))


def _batch(path: Path, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    batch = _safe_pickle.read(path)
    pixels: Any = batch.get("data")
    labels: Any = batch.get(f"{kind}_labels", batch.get("labels"))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        given = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise InputError(f"{path}: 'data' must be uint8 [n, {_PIXELS}] and is {given}. Take the official file.")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"{path}: has no list of integers {kind}_labels. Take the official file.")
    return pixels, np.array(labels)


def _records(path: Path, label_bytes: int, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    content = np.fromfile(path, np.uint8)
    width = label_bytes + _PIXELS
    if not len(content):
        raise InputError(f"{path}: is empty. Download it again.")
    if len(content) % width:
        needed = (len(content) // width + 1) * width
        raise InputError(
            f"{path}: cut off in its last record: it has {len(content):,} bytes and needs {needed:,} "
            f"({width:,} a record). Download it again."
        )
    records = content.reshape(-1, width)
    return records[:, label_bytes:], records[:, 0 if kind == "coarse" else label_bytes - 1]


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    where = f"{parts[0].where} and the {len(parts) - 1} after it"
    return Part(np.concatenate([part.inputs for part in parts]), np.concatenate([part.labels for part in parts]), where)
