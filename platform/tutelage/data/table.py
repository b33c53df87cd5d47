"""Rows of a CSV or Parquet table, one class each; numbers are standardised and words one-hot, by the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from tutelage.data import Examples, SplitName
from tutelage.data._splitting import (
    as_classes,
    as_labels,
    check_rows,
    draw,
    examples_of,
    is_unlabelled,
    no_labels,
    with_unlabelled,
)
from tutelage.errors import InputError, nearest
from tutelage.files import existing
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """The columns that are read. A missing value of a feature is an error; a row without a label is a training example."""

    path: str = Field(description="a .csv (gzipped or not) or .parquet file")
    label: str = Field(description="the column with the class: integers, text, or true and false; empty: unlabelled")
    features: tuple[str, ...] = Field((), strict=False, description="the columns to learn from; empty: all except the label")
    test_path: str | None = Field(None, description="a file of test rows with the same columns, if they are stored separately")
    max_values: int = Field(100, ge=2, description="limit of different words in a column; more are free text")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the rows, of each class")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the rows, of each class, without a test_path")


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs float32 `[n, features]`, already standardised, classes `[n]`.

    Features are standardised in float64, because float32 cannot hold columns such as time stamps. Unlabelled rows are
    training examples; the classes are those of the labelled rows.
    """
    path = existing(config.path)
    table = _table(path)
    features = _features(config, table, path)
    class_names, labels = _training_labels(table, config.label, path)
    drawn = draw(labels, seed, config.validation_share, None if config.test_path else config.test_share, str(path))
    chosen, chosen_labels, where = table.iloc[getattr(drawn, split)], labels[getattr(drawn, split)], path
    if split == "test" and config.test_path:
        where = existing(config.test_path)
        chosen = _table(where)
        _features(config, chosen, where)
        _check_full(chosen, config.label, where, "Only training rows may be unlabelled: fill in the label, or remove the row.")
        values = _classes(chosen, config.label, where)
        chosen_labels = as_labels(values, class_names, f"{where}, column '{config.label}'")
    check_rows(chosen_labels, split, str(where))
    train = table.iloc[drawn.train]
    columns = [_column(name, train[name], chosen[name], config.max_values, path, where) for name in features]
    return examples_of(np.concatenate(columns, axis=1), chosen_labels, class_names)


def _table(path: Path) -> pd.DataFrame:
    read_as = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    try:
        table: pd.DataFrame = read_as(path)
    except Exception as error:  # pandas and pyarrow raise many kinds for a broken file
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise InputError(
            f"{path}: cannot be read as {kind} ({str(error).strip().rstrip('.')}). Save the file again."
        ) from error
    table.columns = table.columns.map(str)
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise InputError(f"{path}: has the column '{repeated[0]}' more than once. Rename one.")
    return table.reset_index(drop=True)


def _features(config: Config, table: pd.DataFrame, path: Path) -> list[str]:
    """Return the columns to learn from. Raises `InputError` for a column that does not exist or has a missing value."""
    features = list(config.features) or [name for name in table.columns if name != config.label]
    for name in (config.label, *features):
        if name not in table:
            others = ", ".join(table.columns[:20])
            raise InputError(f"{path}: no column '{name}'.{nearest(name, table.columns)} The table has {others}.")
    if config.label in features or not features:
        why = f"'{config.label}' is the label, and cannot be a feature too" if features else "no column is left to learn from"
        raise InputError(f"{path}: {why}. Change 'features' or 'label'.")
    for name in features:
        _check_full(table, name, path, "Fill them in, remove those rows, or leave the column out of 'features'.")
    return features


def _check_full(table: pd.DataFrame, name: str, path: Path, remedy: str) -> None:
    column = table[name]
    empty = column.isna().to_numpy()
    if pd.api.types.is_float_dtype(column):
        empty = ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if empty.any():
        row, count = int(np.argmax(empty)), int(empty.sum())
        raise InputError(
            f"{path}: column '{name}' holds {column.iloc[row]} in row {row} (the first is 0), {count:,} in all. {remedy}"
        )


def _training_labels(table: pd.DataFrame, label: str, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and the class index of every row, `UNKNOWN` where the label is empty."""
    unknown, where = _unlabelled(table, label, path), f"{path}, column '{label}'"
    if len(table) and unknown.all():
        raise no_labels(where, "Fill in a few rows of each class.")
    values = _classes(table[~unknown], label, path)
    class_names = as_classes(values, where)
    return class_names, with_unlabelled(as_labels(values, class_names, where), unknown)


def _unlabelled(table: pd.DataFrame, label: str, path: Path) -> np.ndarray:
    """Return booleans, True for unlabelled rows. Raises `InputError` for words such as None, which pandas reads as missing."""
    column = table[label]
    unknown: np.ndarray = column.isna().to_numpy()
    if unknown.any() and path.suffix != ".parquet":
        written = pd.read_csv(path, dtype=str, keep_default_na=False)[label].to_numpy(dtype=np.str_)
        words = np.flatnonzero(unknown & ~is_unlabelled(written))
        if words.size:
            raise InputError(
                f"{path}: column '{label}' holds '{written[words[0]]}' in row {words[0]} (the first is 0), {words.size:,} in "
                "all; this may be a class or a missing label. Rename the class, or leave the cell empty."
            )
    if not pd.api.types.is_numeric_dtype(column):
        unknown = unknown | is_unlabelled(column.astype(str).to_numpy(dtype=np.str_))
    return unknown


def _classes(table: pd.DataFrame, label: str, path: Path) -> np.ndarray:
    column = table[label]
    if pd.api.types.is_float_dtype(column) and (broken := np.flatnonzero(column.to_numpy(np.float64) % 1)).size:
        value, row = column.iloc[broken[0]], column.index[broken[0]]
        raise InputError(f"{path}: the label '{label}' holds {value} in row {row} (the first is 0); classes must be integers.")
    if pd.api.types.is_float_dtype(column):
        column = column.astype(np.int64)
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return column.astype(str).to_numpy(dtype=np.str_)


def _column(name: str, train: Any, chosen: Any, max_values: int, path: Path, where: Path) -> np.ndarray:
    """Return a column of `chosen`: standardised numbers `[n, 1]`, or one-hot words `[n, words]`, by the rows of `train`."""
    if pd.api.types.is_numeric_dtype(train):
        if not pd.api.types.is_numeric_dtype(chosen):
            raise InputError(f"{where}: column '{name}' is {chosen.dtype}, but numeric in {path}. Use the same type in both.")
        training = train.to_numpy(dtype=np.float64)
        mean, spread = training.mean(), training.std()
        numbers: np.ndarray = (chosen.to_numpy(dtype=np.float64) - mean) / (spread if spread > 1e-12 * abs(mean) else 1.0)
        numbers = numbers.astype(np.float32)[:, np.newaxis]
        return numbers
    if pd.api.types.is_datetime64_any_dtype(train) or pd.api.types.is_timedelta64_dtype(train):
        raise InputError(f"{path}: column '{name}' holds times. Convert them to numbers, or leave it out of 'features'.")
    words: Sequence[str] = sorted(set(train.astype(str)))
    if len(words) > max_values:
        raise InputError(
            f"{path}: column '{name}' has {len(words):,} different words, more than max_values = {max_values}.{_stray(train)} "
            "Leave it out of 'features', or raise 'max_values'."
        )
    values: np.ndarray = chosen.astype(str).to_numpy(dtype=np.str_)
    one_hot: np.ndarray = values[:, np.newaxis] == np.array(words)
    return one_hot.astype(np.float32)


def _stray(column: pd.Series) -> str:
    """Return a sentence about the first word in a column that holds mostly numbers; "" for other columns."""
    stray = column[pd.to_numeric(column, errors="coerce").isna()]
    if not 0 < len(stray) < len(column) / 2:
        return ""
    return f" Most are numbers, but '{stray.iloc[0]}' in row {stray.index[0]} (the first is 0) is not."
