"""Examples that stand in one folder a class, with folders train, val and test or without: which belong to which split.

Examples in a folder `unlabelled`, next to the folders of the training classes, are unlabelled training examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from tutelage.data import UNKNOWN, SplitName
from tutelage.data._broken import read_all
from tutelage.data._folders import folders, split_folders, splits_within
from tutelage.data._labels import check_classes, no_labels
from tutelage.data._splitting import check_rows, draw, notes_on_split
from tutelage.errors import InputError, first_names
from tutelage.files import existing_folder

UNLABELLED = ("unlabelled", "unlabeled")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Found(Generic[T]):
    """The examples of one split and of training, and how they were found.

    `roots` are the folders of the splits, none if the classes stand in `root` itself. `labels` `[n]` are those of `chosen`,
    `UNKNOWN` for unlabelled ones. `notes` say how the splits were made.
    """

    root: Path
    roots: dict[SplitName, Path]
    names: tuple[str, ...]
    training: list[T]
    chosen: list[T]
    labels: np.ndarray
    notes: tuple[str, ...]


def find(
    path: str, seed: int, split: SplitName, validation_share: float, test_share: float, inside: Callable[[Path, bool], list[T]]
) -> Found[T]:
    """Return the examples of `split` below `path`. `inside(folder, is_training)` lists those in the folder of one class.

    The classes are the folders of the training folder, or of the val folder if the training folder has only `unlabelled`.
    Raises `InputError` for folders that are missing, double or of no class, and for all folders for which `inside` raises it.
    """
    root = existing_folder(path)
    roots = class_roots(root)
    train_root = roots.get("train", root)
    names = _class_names(train_root, roots)
    examples, labels = _examples_in(train_root, (*names, *UNLABELLED), partial(_inside, inside, True))
    labels = np.where(labels < len(names), labels, UNKNOWN)
    shares = None if "validation" in roots else validation_share, None if "test" in roots else test_share
    drawn = draw(labels, seed, *shares, str(train_root))
    if split != "train" and split in roots:
        chosen, own = _examples_in(roots[split], names, partial(_inside, inside, False))
        check_rows(own, split, str(roots[split]))
    else:
        rows = getattr(drawn, split)
        chosen, own = [examples[row] for row in rows], labels[rows]
    return Found(
        root=root, roots=roots, names=names, training=[examples[row] for row in drawn.train], chosen=chosen, labels=own,
        notes=notes_on_split(names, labels, drawn, *shares),
    )  # fmt: skip


def every(found: Found[T], inside: Callable[[Path, bool], list[T]]) -> list[T]:
    """Return the examples of all splits, in the folders of classes and of unlabelled examples."""
    roots = [*found.roots.values()] or [found.root]
    return [one for root in roots for name in folders(root) for one in _inside(inside, False, root / name)]


def class_roots(root: Path) -> dict[SplitName, Path]:
    """Return the folders of the splits, each with a folder a class; none if the classes stand in `root` itself.

    Raises `InputError` as `split_folders`, for splits within classes, and for unlabelled examples outside of training.
    """
    found = split_folders(root)
    if not found and (inside := splits_within(root)):
        split, name = inside[0].name, inside[0].parent.name
        raise InputError(
            f"{root / name}: has a folder {split}. Splits are folders in {root}, with a folder a class in each: move "
            f"{name}/{split} to {split}/{name}."
        )
    if found and (aside := [name for name in UNLABELLED if (root / name).is_dir()]):
        raise InputError(f"{root / aside[0]}: is outside the training folder. Move it into {found['train']}.")
    return found


def _class_names(train_root: Path, roots: dict[SplitName, Path]) -> tuple[str, ...]:
    found, root = folders(train_root), train_root
    if found and not set(found) - set(UNLABELLED):
        if "validation" not in roots:
            raise no_labels(str(train_root), "Give train, val and test folders; val and test need one folder a class.")
        root = roots["validation"]
    names = tuple(name for name in folders(root) if name not in UNLABELLED)
    check_classes(names, str(root))
    return names


def _examples_in(root: Path, names: Sequence[str], inside: Callable[[Path], list[T]]) -> tuple[list[T], np.ndarray]:
    """Return the examples in the folders `names` of `root`, in order, and the index in `names` of each example's folder.

    Raises `InputError` for a folder with another name.
    """
    if strange := sorted(set(folders(root)) - set(names)):
        remedy = "Move it into the training folder." if strange[0] in UNLABELLED else "Rename it."
        raise InputError(f"{root / strange[0]}: is not a class of the training folder ({first_names(names)}). {remedy}")
    found = read_all([partial(inside, root / name) for name in names], what="folders of classes")
    labels = [number for number, examples in enumerate(found) for _ in examples]
    return [one for examples in found for one in examples], np.array(labels, dtype=np.int64)


def _inside(inside: Callable[[Path, bool], list[T]], is_training: bool, folder: Path) -> list[T]:
    """Return the examples in the folder of a class; none if the folder is not there."""
    return inside(folder, is_training) if folder.is_dir() else []
