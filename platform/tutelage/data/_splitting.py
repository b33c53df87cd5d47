"""Shared by the data sources: stratified splits, checks of inputs, and each channel's mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from tutelage.data import UNKNOWN, Examples, SplitName, classified
from tutelage.errors import InputError, first_names

LabelledPerClass = Annotated[
    int | None, Field(ge=0, description="labelled training examples a class; the other training examples become unlabelled")
]

_TOO_FEW = (
    "One example in each split takes three labelled examples, of every class if they have classes: add examples, or store this "
    "split separately."
)
_CHECKED_ROWS = 4096  # checked at a time for numbers that float32 cannot hold
_MAX_LOST = 0.01  # of a number's standard deviation, by storing it as float32
_SHIFT_ROWS = 256  # the first rows, whose mean is subtracted before squares are summed
_CHUNK_BYTES = 16 * 2**20  # read at a time for the statistics, so that memory-mapped examples are never all in memory


class Part(NamedTuple):
    """Examples stored together: uint8 or float32 `[n, …]`, their class indices (or `UNKNOWN`), and where they are stored."""

    inputs: np.ndarray
    labels: np.ndarray
    where: str


class Rows(NamedTuple):
    """The sorted row numbers of each split; the splits are disjoint."""

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
    """Return the rows of stratified splits: each split gets its share of the labelled rows of every class, rounded.

    If a share is None, no rows are drawn for that split, because it is stored separately. `per_class` limits the training
    rows of a class. Test rows do not depend on `validation_share`, and validation rows do not depend on `per_class`, so that
    scores stay comparable. A class of at least two rows has one in training; a class of at least three has one in each split.
    Unlabelled rows are training rows, and they do not change how labelled rows are drawn. Raises `InputError` for an empty
    split.
    """
    labelled = labels != UNKNOWN
    counts = np.bincount(labels[labelled], minlength=1)
    rank = _ranks_in_class(labels, _draw_order(labels, seed))
    num_test = _num_drawn(test_share, counts, counts - 1)[labels]
    num_validation = _num_drawn(validation_share, counts, counts - 1 - _num_drawn(test_share, counts, counts - 1))[labels]
    first = num_test + num_validation
    last = np.inf if per_class is None else first + per_class
    train = ~labelled | ((rank >= first) & (rank < last))
    validation, test = labelled & (rank >= num_test) & (rank < first), labelled & (rank < num_test)
    drawn = Rows(*(np.flatnonzero(mask) for mask in (train, validation, test)))
    check_rows(drawn.train, "train", where)
    if validation_share is not None:
        check_rows(drawn.validation, "validation", where, _TOO_FEW)
    if test_share is not None:
        check_rows(drawn.test, "test", where, _TOO_FEW)
    return drawn


def training_labels(labels: np.ndarray, rows: np.ndarray, seed: int, labelled_per_class: int | None) -> np.ndarray:
    """Return the labels of the training `rows`: `labelled_per_class` of each class, drawn by `seed`; the rest are `UNKNOWN`.

    None retains all labels. A larger number retains all labels that a smaller one retains, whatever larger `per_class` limits
    the rows.
    """
    found: np.ndarray = labels[rows]
    if labelled_per_class is None:
        return found
    return np.where(_ranks_in_class(found, _draw_order(labels, seed)[rows]) < labelled_per_class, found, UNKNOWN)


def _draw_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the position `[n]` of each labelled row in a random order; it is 0 for unlabelled rows."""
    draw_order = np.zeros(len(labels), dtype=np.int64)
    labelled = np.flatnonzero(labels != UNKNOWN)
    draw_order[labelled[np.random.default_rng(seed).permutation(len(labelled))]] = np.arange(len(labelled))
    return draw_order


def _ranks_in_class(labels: np.ndarray, draw_order: np.ndarray) -> np.ndarray:
    """Return the rank `[n]` of each row within its class by `draw_order`, 0 for the first."""
    order = np.lexsort((draw_order, labels))
    of_class = labels[order]
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(of_class, of_class)
    return ranks


def _num_drawn(share: float | None, counts: np.ndarray, at_most: np.ndarray) -> np.ndarray:
    if share is None:
        return np.zeros_like(counts)
    wanted: np.ndarray = np.round(share * counts).astype(counts.dtype)
    wanted = np.minimum(np.maximum(wanted, 1), np.maximum(at_most, 0))
    return wanted


def check_rows(rows: np.ndarray, split: SplitName, where: str, remedy: str = "Add examples to it.") -> None:
    """Raise `InputError` for a split without examples."""
    if not len(rows):
        raise InputError(f"{where}: the {split} split is empty. {remedy}")


def as_inputs(numbers: np.ndarray, where: str) -> np.ndarray:
    """Return examples `[n, …]` as uint8 if they are stored so, otherwise as float32.

    Raises `InputError` (first row, its value, number of rows) for numbers that are not finite as float32.
    """
    if numbers.dtype == np.uint8:
        return numbers
    first, count = "", 0
    for start in range(0, len(numbers), _CHECKED_ROWS):
        given: Any = numbers[start : start + _CHECKED_ROWS]
        with np.errstate(over="ignore"):
            stored = given.astype(np.float32, copy=False)
            wrong = np.argwhere(~np.isfinite(stored))
        if len(wrong):
            first = first or f"{given[tuple(wrong[0])]} in row {start + wrong[0][0]} (the first is 0)"
            count += len(np.unique(wrong[:, 0]))
        elif given.dtype.itemsize > stored.dtype.itemsize or given.dtype.kind in "iu":
            _check_precision(given, stored, where)
    if count:
        rows = "the row" if count == 1 else f"the {count:,} rows with such values"
        raise InputError(f"{where} holds {first}. Replace the value, or remove {rows}.")
    return numbers.astype(np.float32, copy=False)


def _check_precision(given: np.ndarray, stored: np.ndarray, where: str) -> None:
    """Raise `InputError` for numbers whose differences float32 cannot hold, such as time stamps in seconds."""
    lost = np.abs(given - stored.astype(np.float64)).max(axis=0)
    spread = given.astype(np.float64).std(axis=0)
    if (wrong := np.argwhere((lost > _MAX_LOST * spread) & (lost > 0))).size:
        value = given[(0, *wrong[0])]
        raise InputError(
            f"{where} holds numbers that differ by less than float32 can hold, such as {value}. Subtract their mean, or use "
            "another unit."
        )


def statistics(inputs: np.ndarray, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel (axis 1) over `rows`; a constant channel has deviation 1."""
    size = max(1, _CHUNK_BYTES // max(4, inputs[:1].size * 4))
    shift = _flat(inputs, rows[:_SHIFT_ROWS]).mean(axis=(0, 2), keepdims=True)  # small squares lose fewer digits
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


def how_split(validation_share: float | None, test_share: float | None, what: str = "each class") -> tuple[str, ...]:
    """Return how the splits were made, as a sentence; a share of `what` is None for a split that is stored separately."""
    shares = {"validation": validation_share, "test": test_share}
    parts = [
        f"{name} is stored separately" if share is None else f"{name} is {share:.3g} of {what}, drawn by the seed"
        for name, share in shares.items()
    ]
    return (f"splits: {'; '.join(parts)}",)


def notes_on_split(
    class_names: Sequence[str], labels: np.ndarray, drawn: Rows, validation_share: float | None, test_share: float | None
) -> tuple[str, ...]:
    """Return how the splits were drawn from `labels`, and what of their classes may be a mistake, as sentences."""
    counts, notes = np.bincount(labels[labels != UNKNOWN], minlength=len(class_names)), list[str]()
    for name, share in (("validation", validation_share), ("test", test_share)):
        held = np.bincount(labels[getattr(drawn, name)], minlength=len(class_names))
        if share is not None and (absent := np.flatnonzero((held == 0) & (counts > 0))).size:
            listed = [f"'{class_names[one]}' ({counts[one]:,})" for one in absent.tolist()]
            notes.append(f"classes without an example in {name}, as they have fewer than three in all: {first_names(listed)}")
    return (*how_split(validation_share, test_share), *notes, *notes_on_alike(class_names, "classes"))


def notes_on_alike(names: Sequence[str], what: str) -> list[str]:
    """Return a sentence on names that differ in upper and lower case or in blanks only; none if there are none."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(name.casefold().split()), []).append(f"'{name}'")
    alike = [" and ".join(group) for group in groups.values() if len(group) > 1]
    return [f"{what} that differ in case or blanks only: {first_names(alike)}; are they one?"] if alike else []


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
    """Return the examples of `split`: those of `parts[split]` if it exists, otherwise rows of `parts["train"]` from `draw`.

    The share of a split that is stored separately is None. The part `test` is needed only for the test split. The training
    split has the labels of `training_labels`. Raises `InputError` if examples and labels differ in number.
    """
    train = parts["train"]
    for part in parts.values():
        if len(part.inputs) != len(part.labels):
            raise InputError(
                f"{part.where}: has {len(part.inputs):,} examples and {len(part.labels):,} labels; each example needs one."
            )
    drawn = draw(train.labels, seed, validation_share, test_share, train.where, per_class)
    mean, std = statistics(train.inputs, drawn.train)
    notes = notes_on_split(class_names, train.labels, drawn, validation_share, test_share)
    if split != "train" and split in parts:
        own = parts[split]
        check_rows(own.labels, split, own.where)
        return examples_of(own.inputs, own.labels, class_names, mean, std, notes)
    rows = getattr(drawn, split)
    per_class_limit = labelled_per_class if split == "train" else None
    labels = training_labels(train.labels, rows, seed, per_class_limit)
    return examples_of(train.inputs[rows], labels, class_names, mean, std, notes)


def examples_of(
    inputs: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    notes: tuple[str, ...] = (),
) -> Examples:
    """Return examples from arrays `inputs` `[n, …]` and `labels` `[n]`; the inputs share memory with their array."""
    labels = labels.astype(np.int64)
    found = classified(torch.from_numpy(inputs), torch.from_numpy(labels), class_names, mean=mean, std=std)
    return replace(found, notes=notes)
