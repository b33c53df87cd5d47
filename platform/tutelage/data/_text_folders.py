"""Texts in one folder a class, one file a text, with folders train, val and test or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tutelage.data import SplitName
from tutelage.data._broken import read_all
from tutelage.data._class_folders import Found, every, find
from tutelage.data._folders import folders, is_hidden
from tutelage.errors import InputError
from tutelage.files import read_text

WordsOf = Callable[[str, str], list[str]]  # the words of a text, which stands at a place that errors name
ENDINGS = (".txt", "")


def has_class_folders(root: Path) -> bool:
    """Return whether texts stand in folders of `root`."""
    return root.is_dir() and bool(folders(root))


def read_texts(
    path: str,
    seed: int,
    split: SplitName,
    validation_share: float,
    test_share: float,
    words_of: Callable[[str, str], list[str]],
) -> tuple[Found[Path], list[list[str]], list[list[str]]]:
    """Return the files of one split below `path`, the words of the training texts, and those of the split's texts.

    Raises `InputError` for all files at once that are not UTF-8 or for which `words_of` raises it, and for folders as
    `_class_folders.find` does.
    """
    found = find(path, seed, split, validation_share, test_share, _texts_in)
    chosen = [] if split == "train" else found.chosen
    files = [*found.training, *chosen]
    others = sorted(set(every(found, _texts_in)) - set(files))
    reads, also = ([partial(_words_in, one, words_of) for one in part] for part in (files, others))
    words = read_all(reads, also, what="texts")
    training = words[: len(found.training)]
    return found, training, training if split == "train" else words[len(training) :]


def _words_in(path: Path, words_of: Callable[[str, str], list[str]]) -> list[str]:
    return words_of(read_text(path), str(path))


def _texts_in(folder: Path, is_training: bool) -> list[Path]:
    """Return the texts in the folder of a class and the folders within it, sorted."""
    found = [path for path in _files_in(folder) if path.suffix.lower() in ENDINGS]
    if is_training and not found:
        raise InputError(f"{folder}: has no text, a file .txt or one without an ending. Add some, or remove the folder.")
    return found


def _files_in(root: Path) -> list[Path]:
    within = sorted(path for path in root.rglob("*") if path.is_file())
    return [path for path in within if not any(is_hidden(part) for part in path.relative_to(root).parts)]


def left_out(found: Found[Path]) -> Iterator[str]:
    """Give sentences on the files and folders that are not read."""
    if beside := [name for name in folders(found.root) if found.roots and found.root / name not in found.roots.values()]:
        yield f"left out the folders beside the splits: {', '.join(beside)}"
    texts: list[Path] = every(found, _texts_in)
    others = Counter(path.suffix.lower() for path in set(_files_in(found.root)) - set(texts))
    if others:
        listed = ", ".join(f"{count:,} with {ending or 'no ending'}" for ending, count in sorted(others.items()))
        yield f"left out the files that are in no class or no text: {listed}"
