"""Class names and labels as stored, checked and turned into class indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tutelage.data import UNKNOWN
from tutelage.errors import InputError, first_names


def is_unlabelled(values: np.ndarray) -> np.ndarray:
    """Return booleans, True for values (integers or text) that mean "no label": -1, or blank text."""
    empty: np.ndarray = np.char.strip(values) == "" if values.dtype.kind == "U" else values == UNKNOWN
    return empty


def as_classes(values: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the sorted class names of `values` (integers or text). Raises `InputError` for fewer than two classes."""
    if not len(values):
        raise InputError(f"{where}: has no examples. Is this the right path?")
    names = tuple(str(value) for value in np.unique(values))
    check_classes(names, where)
    return names


def check_classes(names: Sequence[str], where: str) -> None:
    """Raise `InputError` for fewer than two classes, and for a name that is not text, which no file could hold."""
    if odd := [name for name in names if not is_text(name)]:
        raise InputError(f"{where}: the class {odd[0]!r} has a name that is not UTF-8. Rename it.")
    if len(names) < 2:
        only = f"only the class '{names[0]}'" if names else "no class"
        raise InputError(f"{where}: has {only}. A classifier needs at least two classes. Is this the right path?")


def is_text(name: str) -> bool:
    """Return whether a name can be written as UTF-8; the names of files whose bytes are not UTF-8 cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def no_labels(where: str, remedy: str) -> InputError:
    """Return the error for a training split without labels, from which no class names can be read."""
    return InputError(f"{where}: no training example has a label, so the class names are missing. {remedy}")


def as_labels(values: np.ndarray, names: Sequence[str], where: str) -> np.ndarray:
    """Return the class index of each value. Raises `InputError` (row, value) for a value that is not in `names`."""
    found, rows = np.unique(values, return_inverse=True)
    index = {name: number for number, name in enumerate(names)}
    numbers = np.array([index.get(str(value), UNKNOWN) for value in found], dtype=np.int64)
    labels = numbers[rows.reshape(-1)]
    if (wrong := np.flatnonzero(labels == UNKNOWN)).size:
        remedy = "Only training examples may be unlabelled. " if is_unlabelled(values[wrong[:1]]).any() else ""
        _raise_wrong_label(wrong, values, f"{len(names)} training classes ({first_names(names)})", where, remedy)
    return labels


def with_unlabelled(labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return a label for every row: `UNKNOWN` where `unknown` is True, and `labels`, in order, for the other rows."""
    found = np.full(len(unknown), UNKNOWN, dtype=np.int64)
    found[~unknown] = labels
    return found


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Raise `InputError` (row, value) for a label outside 0 to `num_classes` - 1."""
    if (wrong := np.flatnonzero((labels < 0) | (labels >= num_classes))).size:
        _raise_wrong_label(wrong, labels, f"{num_classes} classes (0 to {num_classes - 1})", where)


def _raise_wrong_label(wrong: np.ndarray, labels: np.ndarray, allowed: str, where: str, remedy: str = "") -> None:
    others = f" ({len(wrong):,} rows are wrong)" if len(wrong) > 1 else ""
    value = str(labels[wrong[0]]).strip() or "empty"
    raise InputError(
        f"{where}: the label of row {wrong[0]} (the first is 0) is {value}, none of the {allowed}{others}. "
        f"{remedy}Correct the file, or remove those rows."
    )
