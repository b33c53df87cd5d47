"""Where the images of a folder are: the folders of its splits and classes, and the images in them, without hidden ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tutelage.data import SplitName
from tutelage.errors import InputError

ENDINGS = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
UNLABELLED = ("unlabelled", "unlabeled")
_SPLITS: dict[str, SplitName] = {  # in any case of letters
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_OF_PROGRAMS = ("__macosx", "@eadir")  # folders that archivers and file servers add; others begin with a dot


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of the user's: it begins with a dot, or a program adds it."""
    return name.startswith(".") or name.lower() in _OF_PROGRAMS


def folders(root: Path) -> tuple[str, ...]:
    """Return the names of the folders in `root`, sorted, without hidden ones."""
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not is_hidden(path.name)))


def split_folders(root: Path) -> dict[SplitName, Path]:
    """Return the folders of the splits; none if the classes stand in `root` itself.

    Raises `InputError` for two folders of one split, for a split without one for training, and for splits within classes.
    """
    found: dict[SplitName, Path] = {}
    for name in folders(root):
        split = _SPLITS.get(name.lower())
        if split in found:
            raise InputError(f"{root}: {found[split].name} and {name} are both {split} folders. Rename or remove one.")
        if split is not None:
            found[split] = root / name
    if found and "train" not in found:
        names = " and ".join(path.name for path in found.values())
        raise InputError(f"{root}: has {names}, but no train folder. Name the training folder 'train', or rename {names}.")
    if not found:
        _check_no_splits_within(root)
    if found and (aside := [name for name in UNLABELLED if (root / name).is_dir()]):
        raise InputError(f"{root / aside[0]}: is outside the training folder. Move it into {found['train']}.")
    return found


def _check_no_splits_within(root: Path) -> None:
    for name in folders(root):
        if inside := [one for one in folders(root / name) if one.lower() in _SPLITS]:
            raise InputError(
                f"{root / name}: has a folder {inside[0]}. Splits are folders in {root}, with a folder a class in each: move "
                f"{name}/{inside[0]} to {inside[0]}/{name}."
            )


def images_in(folder: Path) -> list[Path]:
    """Return the images in `folder` and the folders within it, sorted."""
    return sorted(path for path in _files_in(folder) if path.suffix.lower() in ENDINGS)


def _files_in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and not any(is_hidden(part) for part in path.relative_to(folder).parts):
            yield path


def left_out(root: Path, roots: Mapping[SplitName, Path]) -> list[str]:
    """Return sentences on what is not read: folders beside the splits, images outside of class folders, other files."""
    notes = []
    if beside := [name for name in folders(root) if roots and root / name not in roots.values()]:
        notes.append(f"left out the folders beside the splits: {', '.join(beside)}")
    others = Counter(path.suffix.lower() or "no ending" for path in _files_in(root) if path.suffix.lower() not in ENDINGS)
    if others:
        listed = ", ".join(f"{count:,} with {ending}" for ending, count in sorted(others.items()))
        notes.append(f"left out the files that are no images: {listed}")
    class_roots = list(roots.values()) or [root]
    loose = [
        path for one in class_roots for path in one.iterdir() if path.suffix.lower() in ENDINGS and not is_hidden(path.name)
    ]
    return [*notes, f"left out {len(loose):,} images outside of the class folders"] if loose else notes
