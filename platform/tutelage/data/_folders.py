"""The folders and files of a data source: those of its splits, by their usual names, without hidden ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from tutelage.data import SplitName
from tutelage.errors import InputError

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
    """Return the folders of the splits in `root`; none if it has no folder with the name of a split.

    Raises `InputError` for two folders of one split, and for splits without one for training.
    """
    return _splits_in(root, {name: name for name in folders(root)}, "folder")


def split_files(root: Path, endings: Collection[str]) -> dict[SplitName, Path]:
    """Return the files of the splits in `root`, such as train.csv; raises as `split_folders`. Other files are left out."""
    names = sorted(path.name for path in root.iterdir() if path.is_file() and not is_hidden(path.name))
    return _splits_in(root, {name: Path(name).stem for name in names if Path(name).suffix.lower() in endings}, "file")


def _splits_in(root: Path, named: Mapping[str, str], what: str) -> dict[SplitName, Path]:
    """Return the paths of the splits among the names in `root`, each given with the word that may name a split."""
    found: dict[SplitName, Path] = {}
    for name, word in named.items():
        split = _SPLITS.get(word.lower())
        if split in found:
            raise InputError(f"{root}: {found[split].name} and {name} are both {split} {what}s. Rename or remove one.")
        if split is not None:
            found[split] = root / name
    if found and "train" not in found:
        names = " and ".join(path.name for path in found.values())
        raise InputError(f"{root}: has {names}, but no train {what}. Name the training {what} 'train', or rename {names}.")
    return found


def splits_within(root: Path) -> list[Path]:
    """Return the folders with the name of a split that are in folders of `root`."""
    return [root / name / one for name in folders(root) for one in folders(root / name) if one.lower() in _SPLITS]


def is_file(path: Path) -> bool:
    """Return whether there is a file; False for a name that is longer than any file's."""
    try:
        return path.is_file()
    except OSError:
        return False
