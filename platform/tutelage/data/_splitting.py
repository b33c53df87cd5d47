"""What the data sources share: rows drawn by class and seed, the names of classes, and a channel's mean and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from tutelage.data import UNKNOWN, Examples, SplitName, classified
from tutelage.errors import InputError

LabelledPerClass = Annotated[
    int | None, Field(ge=0, description="training examples of a class that keep their label; the others lose theirs")
]

_TOO_FEW = "A class needs three labelled examples to have one in each split: add examples, or give this split its own."
_CHECKED_ROWS = 4096
_FIRST = 256
_CHUNK_BYTES = 16 * 2**20  # read at a time for the statistics, so that a memory-mapped set never lies in memory whole


class Part(NamedTuple):
    """Examples stored together: uint8 or float32 `[n, …]`, a class index each (or `UNKNOWN`), and where they lie."""

    inputs: np.ndarray
    labels: np.ndarray
    where: str


class Rows(NamedTuple):
    """Sorted row numbers, no row in two splits."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def draw(
    labels: np.ndarray,
    seed: int,
    validation_share: float | None,
    test_share: float | None,
    where: str,
    per_class: int | None = None,
) -> Rows:
    """Share rows out so that every class has its share (of all labelled rows, to the nearest row) in every split.

    A share of None draws no rows: that split has a file of its own. `per_class` caps a class's training rows. The test rows
    do not depend on `validation_share`, nor the validation rows on `per_class`, so scores stay comparable.
    A class of two rows or more has one in training, of three or more in each split. Rows whose label is unknown are all
    training rows; which of the others are in a split does not depend on them. Raises `InputError` for a split without rows.
    """
    known = labels != UNKNOWN
    counts = np.bincount(labels[known], minlength=1)
    place = _places(labels, _turns(labels, seed))
    num_test = _number(test_share, counts, counts - 1)[labels]
    num_validation = _number(validation_share, counts, counts - 1 - _number(test_share, counts, counts - 1))[labels]
    first = num_test + num_validation
    last = np.inf if per_class is None else first + per_class
    train = ~known | ((place >= first) & (place < last))
    validation, test = known & (place >= num_test) & (place < first), known & (place < num_test)
    drawn = Rows(*(np.flatnonzero(mask) for mask in (train, validation, test)))
    check_rows(drawn.train, "train", where)
    if validation_share is not None:
        check_rows(drawn.validation, "validation", where, _TOO_FEW)
    if test_share is not None:
        check_rows(drawn.test, "test", where, _TOO_FEW)
    return drawn


def training_labels(labels: np.ndarray, rows: np.ndarray, seed: int, labelled_per_class: int | None) -> np.ndarray:
    """Return the labels of the training `rows`: `labelled_per_class` of each class, drawn by `seed`, and the rest unknown.

    None leaves them all. A larger number keeps what a smaller one keeps, whatever `per_class` above it `draw` was given.
    """
    found: np.ndarray = labels[rows]
    if labelled_per_class is None:
        return found
    return np.where(_places(found, _turns(labels, seed)[rows]) < labelled_per_class, found, UNKNOWN)


def _turns(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return when each labelled row is drawn; rows of unknown label take no turn."""
    turns = np.zeros(len(labels), dtype=np.int64)
    known = np.flatnonzero(labels != UNKNOWN)
    turns[known[np.random.default_rng(seed).permutation(len(known))]] = np.arange(len(known))
    return turns


def _places(labels: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return the place of each row among those of its class, 0 for the one whose turn comes first."""
    order = np.lexsort((turns, labels))
    of_class = labels[order]
    places = np.empty(len(labels), dtype=np.int64)
    places[order] = np.arange(len(labels)) - np.searchsorted(of_class, of_class)
    return places


def _number(share: float | None, counts: np.ndarray, at_most: np.ndarray) -> np.ndarray:
    if share is None:
        return np.zeros_like(counts)
    wanted: np.ndarray = np.round(share * counts).astype(counts.dtype)
    wanted = np.minimum(np.maximum(wanted, 1), np.maximum(at_most, 0))
    return wanted


def unknown_in(values: np.ndarray) -> np.ndarray:
    """Return which of the values (whole numbers or text) say that there is no label: -1, or nothing but blanks."""
    empty: np.ndarray = np.char.strip(values) == "" if values.dtype.kind == "U" else values == UNKNOWN
    return empty


def as_classes(values: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the names of the classes of `values` (whole numbers or text), sorted; `InputError` for fewer than two."""
    if not len(values):
        raise InputError(f"{where}: is empty: no example, so no class. Is this the right place?")
    names = tuple(str(value) for value in np.unique(values))
    check_classes(names, where)
    return names


def check_classes(names: Sequence[str], where: str) -> None:
    """Raise `InputError` unless there are two classes at least."""
    if len(names) < 2:
        only = f"only the class '{names[0]}'" if names else "no class"
        raise InputError(f"{where}: holds {only}. Two classes are the least that can be told apart; is this the right place?")


def nothing_labelled(where: str, way: str) -> InputError:
    """Return what to raise where no training example has a label and nothing else names the classes."""
    return InputError(f"{where}: no training example has a label, so no class has a name. {way}")


def as_labels(values: np.ndarray, names: Sequence[str], where: str) -> np.ndarray:
    """Return each value's class index; `InputError` (row, value) for one that is none of the training classes `names`."""
    found, rows = np.unique(values, return_inverse=True)
    index = {name: number for number, name in enumerate(names)}
    numbers = np.array([index.get(str(value), UNKNOWN) for value in found], dtype=np.int64)
    labels = numbers[rows.reshape(-1)]
    if (wrong := np.flatnonzero(labels == UNKNOWN)).size:
        way = "Only a training example may be without a label. " if unknown_in(values[wrong[:1]]).any() else ""
        _refuse_label(wrong, values, f"{len(names)} training classes ({few(names)})", where, way)
    return labels


def with_unknown(labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return a label for every row: those given, in their order, and `UNKNOWN` where `unknown` says so."""
    found = np.full(len(unknown), UNKNOWN, dtype=np.int64)
    found[~unknown] = labels
    return found


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Raise `InputError` (row, value) for a label that is not in 0 to `num_classes` - 1."""
    if (wrong := np.flatnonzero((labels < 0) | (labels >= num_classes))).size:
        _refuse_label(wrong, labels, f"{num_classes} classes (0 to {num_classes - 1})", where)


def _refuse_label(wrong: np.ndarray, labels: np.ndarray, known: str, where: str, way: str = "") -> None:
    others = f", as are {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
    value = str(labels[wrong[0]]).strip() or "empty"
    raise InputError(
        f"{where}: the label of row {wrong[0]} (the first is 0) is {value}, none of the {known}{others}. "
        f"{way}Mend the file, or take those rows out."
    )


def few(names: Sequence[str]) -> str:
    """Return the first five names in one line."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def check_rows(rows: np.ndarray, split: SplitName, where: str, way: str = "Add examples to it.") -> None:
    """Raise `InputError` for a split without examples."""
    if not len(rows):
        raise InputError(f"{where}: the {split} split is empty. {way}")


def as_inputs(numbers: np.ndarray, where: str) -> np.ndarray:
    """Return examples `[n, …]` as bytes, if they are, or float32; `InputError` (row, value) for one that float32 has not."""
    if numbers.dtype == np.uint8:
        return numbers
    for start in range(0, len(numbers), _CHECKED_ROWS):
        given: Any = numbers[start : start + _CHECKED_ROWS]
        with np.errstate(over="ignore"):
            wrong = np.argwhere(~np.isfinite(given.astype(np.float32, copy=False)))
        if len(wrong):
            raise InputError(
                f"{where} holds {given[tuple(wrong[0])]} in row {start + wrong[0][0]} (the first is 0). "
                "Fill it in, or take the row out."
            )
    return numbers.astype(np.float32, copy=False)


def statistics(inputs: np.ndarray, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation (1 where there is none) of each channel (axis 1) over `rows`."""
    size = max(1, _CHUNK_BYTES // max(4, inputs[:1].size * 4))
    shift = _flat(inputs, rows[:_FIRST]).mean(axis=(0, 2), keepdims=True)  # keeps the squares small beside the spread
    total, squares = np.zeros(inputs.shape[1]), np.zeros(inputs.shape[1])
    for start in range(0, len(rows), size):
        chunk = _flat(inputs, rows[start : start + size])
        chunk -= shift
        total += chunk.sum(axis=2).sum(axis=0, dtype=np.float64)
        squares += np.einsum("ijk,ijk->ij", chunk, chunk).sum(axis=0, dtype=np.float64)
    numbers = len(rows) * (inputs[:1].size // inputs.shape[1])
    offset = total / numbers
    mean = shift.astype(np.float64).reshape(-1) + offset
    std = np.sqrt(np.maximum(squares / numbers - offset**2, 0.0))
    std[std <= 1e-6 * np.abs(mean)] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def _flat(inputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    chunk: np.ndarray = inputs[rows].reshape(len(rows), inputs.shape[1], -1).astype(np.float32)
    return chunk


def split_of(
    split: SplitName,
    seed: int,
    parts: Mapping[SplitName, Part],
    class_names: tuple[str, ...],
    validation_share: float | None,
    test_share: float | None = None,
    per_class: int | None = None,
    labelled_per_class: int | None = None,
) -> Examples:
    """Return `split`: its own part in `parts` if there is one, otherwise drawn from the part `train` as `draw` says.

    The training split keeps the labels that `training_labels` leaves it. A part that is stored apart is given with its share
    as None; `test` may be left out when another split is asked for.
    """
    train = parts["train"]
    for part in parts.values():
        if len(part.inputs) != len(part.labels):
            raise InputError(
                f"{part.where}: {len(part.inputs):,} examples and {len(part.labels):,} labels; one each is needed."
            )
    drawn = draw(train.labels, seed, validation_share, test_share, train.where, per_class)
    mean, std = statistics(train.inputs, drawn.train)
    if split != "train" and split in parts:
        own = parts[split]
        check_rows(own.labels, split, own.where)
        return made(own.inputs, own.labels, class_names, mean, std)
    rows = getattr(drawn, split)
    left = labelled_per_class if split == "train" else None
    return made(train.inputs[rows], training_labels(train.labels, rows, seed, left), class_names, mean, std)


def made(
    inputs: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> Examples:
    """Return examples of arrays; the inputs are not copied where they can be shared."""
    return classified(
        torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)), class_names, mean=mean, std=std
    )  # fmt: skip
