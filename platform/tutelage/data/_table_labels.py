"""The labels of a table: integers, text, or true and false; an empty cell is a row without a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tutelage.data._labels import as_classes, as_labels, is_unlabelled, no_labels, with_unlabelled
from tutelage.data._tables import FormatConfig, Table, check_column, check_full, written
from tutelage.errors import InputError


def training_labels(table: Table, label: str, config: FormatConfig) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and the class index of every row, `UNKNOWN` where the label is empty."""
    check_column(table, label)
    unknown, where = _unlabelled(table, label, config), f"{table.path}, column '{label}'"
    if len(unknown) and unknown.all():
        raise no_labels(where, "Fill in a few rows of each class.")
    values = _classes(table, label, ~unknown)
    class_names = as_classes(values, where)
    return class_names, with_unlabelled(as_labels(values, class_names, where), unknown)


def test_labels(table: Table, label: str, class_names: Sequence[str], config: FormatConfig) -> np.ndarray:
    """Return the class index of every test row. Raises `InputError` for a row without a label, or of another class."""
    check_column(table, label)
    check_full(table, label, "Only training rows may be unlabelled: fill in the label, or remove the row.", config)
    values = _classes(table, label, np.ones(len(table.cells), dtype=bool), class_names)
    return as_labels(values, class_names, f"{table.path}, column '{label}'")


def _unlabelled(table: Table, label: str, config: FormatConfig) -> np.ndarray:
    """Return booleans, True for unlabelled rows. Raises `InputError` for words such as None, unless `missing` names them."""
    column = table.cells[label]
    unknown: np.ndarray = column.isna().to_numpy()
    if config.missing is None and unknown.any():
        words = written(table, label, config)
        rows = np.flatnonzero(unknown & ~is_unlabelled(words))
        if rows.size:
            raise InputError(
                f"{table.path}: column '{label}' holds '{words[rows[0]]}' in row {rows[0]} (the first is 0), {rows.size:,} in "
                "all; this may be a class or a missing label. Rename the class, leave the cell empty, or set 'missing'."
            )
    if not pd.api.types.is_numeric_dtype(column):
        unknown = unknown | is_unlabelled(column.astype(str).to_numpy(dtype=np.str_))
    return unknown


def _classes(table: Table, label: str, is_chosen: np.ndarray, known: Sequence[str] = ()) -> np.ndarray:
    """Return the labels of the chosen rows: integers if all are numbers, so that they are sorted as such; otherwise text.

    Numbers with a leading zero are text, and so are numbers that are not among the `known` classes.
    """
    column = table.cells[label][is_chosen]
    if not pd.api.types.is_numeric_dtype(column):
        text = column.astype(str).str.strip()
        numbers = pd.to_numeric(text, errors="coerce")
        if numbers.isna().any() or text.str.fullmatch(r"[+-]?0\d+.*").any() or (known and set(text) <= set(known)):
            return text.to_numpy(dtype=np.str_)
        column = numbers
    if not pd.api.types.is_float_dtype(column):
        return column.to_numpy()
    if (broken := np.flatnonzero(column.to_numpy(np.float64) % 1)).size:
        value, row = column.iloc[broken[0]], column.index[broken[0]]
        raise InputError(
            f"{table.path}: the label '{label}' holds {value} in row {row} (the first is 0); classes must be integers."
        )
    return column.to_numpy(np.int64)
