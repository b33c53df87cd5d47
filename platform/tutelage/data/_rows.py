"""Rows of a table as the numbers that a network is given, by the names of the columns. Only NumPy is needed.

Training, evaluation, the code on a model card and the model that MLflow serves all use these functions; the last two hold a
copy of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers_of(rows: Any, columns: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the rows as numbers `[n, width]`, not normalised, in the order of `columns`; further columns are ignored.

    `rows` is a data frame, a list of mappings from names to values, or a mapping from names to the values of all rows. Raises
    `ValueError` (column, value, row) for a missing column and for a value that does not fit its column. A word that training
    did not have is 0 everywhere.
    """
    return np.concatenate([_encoded(_values(rows, column["name"]), column) for column in columns], axis=1)


def unseen_words(numbers: NDArray[np.float64], columns: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return in how many rows of `numbers_of` the word was unknown, by column; columns without such rows are left out."""
    found, start = {}, 0
    for column in columns:
        width = len(column["words"]) if column["kind"] == "words" else 1
        if column["kind"] == "words" and (count := int((~numbers[:, start : start + width].any(axis=1)).sum())):
            found[column["name"]] = count
        start += width
    return found


def rows_of(numbers: NDArray[np.float64], columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows by column name that `numbers_of` gives these numbers for; an unknown word is ""."""
    cells, start = {}, 0
    for column in columns:
        width = len(column["words"]) if column["kind"] == "words" else 1
        own = numbers[:, start : start + width]
        if column["kind"] == "words":
            words = np.array([*column["words"], ""], dtype=str)
            cells[column["name"]] = words[np.where((own > 0.5).any(axis=1), own.argmax(axis=1), width)].tolist()
        else:
            cells[column["name"]] = (own[:, 0] > 0.5 if column["kind"] == "boolean" else own[:, 0]).tolist()
        start += width
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def _values(rows: Any, name: str) -> NDArray[Any]:
    try:
        values = rows[name] if hasattr(rows, "columns") or isinstance(rows, Mapping) else [row[name] for row in rows]
    except KeyError:
        raise ValueError(f"the rows lack the column '{name}'") from None
    return np.asarray(values)


def _encoded(values: NDArray[Any], column: Mapping[str, Any]) -> NDArray[np.float64]:
    if column["kind"] == "words":
        words = np.char.strip(values.astype(str))
        one_hot: NDArray[np.float64] = (words[:, np.newaxis] == np.array(column["words"], dtype=str)).astype(np.float64)
        return one_hot
    if values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
    else:
        numbers = np.array([_number(value, column["kind"]) for value in values], dtype=np.float64)
    wrong = ~np.isfinite(numbers)
    if column["kind"] == "boolean":
        wrong |= (numbers != 0) & (numbers != 1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"the column '{column['name']}' is a {column['kind']}, and holds '{values[row]}' in row {row}")
    return numbers[:, np.newaxis]


def _number(value: Any, kind: str) -> float:
    """Return a value as a number; NaN if it is none."""
    if kind == "boolean" and str(value).strip().lower() in ("true", "false"):
        return float(str(value).strip().lower() == "true")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
