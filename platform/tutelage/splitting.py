"""What the data sources share: rows drawn by class and seed, the names of classes, and a channel's mean and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from tutelage.data import Split, SplitName
from tutelage.errors import InputError

_FIRST = 256
_CHUNK_BYTES = 16 * 2**20  # read at a time for the statistics, so that a memory-mapped set never lies in memory whole


class Part(NamedTuple):
    """Examples that a source stores together: uint8 or float32 `[n, …]`, a class index each, and where they lie."""

    inputs: np.ndarray
    labels: np.ndarray
    where: str


class Rows(NamedTuple):
    """Sorted row numbers, no row in two splits."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def draw(
    labels: np.ndarray, seed: int, validation_share: float | None, test_share: float | None, per_class: int | None = None
) -> Rows:
    """Share rows out so that every class has its share (of all rows, to the nearest row) in every split.

    A share of None draws no rows: that split has a file of its own. `per_class` caps a class's training rows. The test rows
    do not depend on `validation_share`, nor the validation rows on `per_class`, so scores stay comparable.
    A class of two rows or more has one in training, of three or more in each split.
    """
    counts = np.bincount(labels)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    of_class = labels[order]
    place = np.arange(len(labels)) - (np.cumsum(counts) - counts)[of_class]
    num_test = _number(test_share, counts, counts - 1)[of_class]
    num_validation = _number(validation_share, counts, counts - 1 - _number(test_share, counts, counts - 1))[of_class]
    first = num_test + num_validation
    last = np.inf if per_class is None else first + per_class
    masks = ((place >= first) & (place < last), (place >= num_test) & (place < first), place < num_test)
    return Rows(*(np.sort(order[mask]) for mask in masks))


def _number(share: float | None, counts: np.ndarray, at_most: np.ndarray) -> np.ndarray:
    if share is None:
        return np.zeros_like(counts)
    wanted: np.ndarray = np.round(share * counts).astype(counts.dtype)
    wanted = np.minimum(np.maximum(wanted, 1), np.maximum(at_most, 0))
    return wanted


def as_classes(values: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the names of the classes of `values` (whole numbers or text), sorted; `InputError` for fewer than two."""
    names = tuple(str(value) for value in np.unique(values))
    check_classes(names, where)
    return names


def check_classes(names: Sequence[str], where: str) -> None:
    """Raise `InputError` unless there are two classes at least."""
    if len(names) < 2:
        only = f"only the class '{names[0]}'" if names else "no class"
        raise InputError(f"{where}: holds {only}. Two classes are the least that can be told apart; is this the right place?")


def as_labels(values: np.ndarray, names: Sequence[str], where: str) -> np.ndarray:
    """Return each value's class index; `InputError` (row, value) for one that is none of the training classes `names`."""
    found, rows = np.unique(values, return_inverse=True)
    index = {name: number for number, name in enumerate(names)}
    numbers = np.array([index.get(str(value), -1) for value in found], dtype=np.int64)
    labels = numbers[rows.reshape(-1)]
    if (wrong := np.flatnonzero(labels < 0)).size:
        _refuse_label(wrong, values.reshape(-1), f"{len(names)} training classes ({_few(names)})", where)
    return labels


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Raise `InputError` (row, value) for a label that is not in 0 to `num_classes` - 1."""
    if (wrong := np.flatnonzero((labels < 0) | (labels >= num_classes))).size:
        _refuse_label(wrong, labels, f"{num_classes} classes (0 to {num_classes - 1})", where)


def _refuse_label(wrong: np.ndarray, labels: np.ndarray, known: str, where: str) -> None:
    others = f", as are {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
    raise InputError(
        f"{where}: the label of row {wrong[0]} (the first is 0) is {labels[wrong[0]]!s}, none of the {known}{others}. "
        "Mend the file, or take those rows out."
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def check_rows(rows: np.ndarray, split: SplitName, where: str) -> None:
    """Raise `InputError` for a split without examples."""
    if not len(rows):
        raise InputError(
            f"{where}: the {split} split is empty. A class needs three examples to have one in each split: "
            "add examples, or change validation_share, test_share or per_class."
        )


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
) -> Split:
    """Return `split`: its own part in `parts` if there is one, otherwise drawn from the part `train` as `draw` says.

    A part that is stored apart is given with its share as None; `test` may be left out when another split is asked for.
    """
    train = parts["train"]
    for part in parts.values():
        if len(part.inputs) != len(part.labels):
            raise InputError(
                f"{part.where}: {len(part.inputs):,} examples and {len(part.labels):,} labels; one each is needed."
            )
        check_labels(part.labels, len(class_names), part.where)
    drawn = draw(train.labels, seed, validation_share, test_share, per_class)
    own = parts[split] if split != "train" and split in parts else None
    rows = getattr(drawn, split) if own is None else np.arange(len(own.labels))
    check_rows(drawn.train, "train", train.where)
    check_rows(rows, split, (own or train).where)
    mean, std = statistics(train.inputs, drawn.train)
    inputs, labels = (train.inputs[rows], train.labels[rows]) if own is None else (own.inputs, own.labels)
    return made(inputs, labels, class_names, mean, std)


def made(
    inputs: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> Split:
    """Return a `Split` of arrays; the inputs are not copied where they can be shared."""
    return Split(
        inputs=torch.from_numpy(inputs),
        labels=torch.from_numpy(labels.astype(np.int64)).unsqueeze(1),
        class_names=class_names,
        mean=mean,
        std=std,
    )
