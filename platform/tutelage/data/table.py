"""Rows of a CSV or Parquet table, one class each; numbers are standardised and words one-hot, by the training rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd
from pydantic import Field

from tutelage.data import Examples, SplitName
from tutelage.data._broken import read_all
from tutelage.data._columns import ColumnsConfig, Wrong, kind_of, numbers
from tutelage.data._rows import numbers_of, unseen_words
from tutelage.data._splitting import check_rows, draw, examples_of, notes_on_alike, notes_on_split
from tutelage.data._table_labels import test_labels, training_labels
from tutelage.data._tables import Table, check_column, check_full
from tutelage.data._tables import read as read_table
from tutelage.errors import InputError
from tutelage.files import existing
from tutelage.signature import Column, ColumnKind, InputSpec

SPACE: dict[str, dict[str, object]] = {}
_ID = re.compile(r"(?:.*[\W_])?(?:id|uuid|guid|index|idx|key|row|nr|no)|.*[a-z0-9]I[dD]", re.IGNORECASE)


class Config(ColumnsConfig):
    """The columns that are read. A missing value of a feature is an error; a row without a label is a training example."""

    path: str = Field(description="a .csv (gzipped or not) or .parquet file")
    label: str = Field(description="the column with the class: integers, text, or true and false; empty: unlabelled")
    features: tuple[str, ...] = Field(
        (), strict=False, description="the columns to learn from; empty: all except the label, row numbers and identifiers"
    )
    test_path: str | None = Field(None, description="a file of test rows with the same columns, if they are stored separately")
    max_values: int = Field(100, ge=2, description="limit of different words in a column; more are free text")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the rows, of each class")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the rows, of each class, without a test_path")


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs float64 `[n, width]`, classes `[n]`.

    The numbers of a row are stored as they are, because float32 cannot hold columns such as time stamps; the mean and deviation
    of the training rows standardise them. Unlabelled rows are training examples; the classes are those of the labelled rows.
    """
    return _read(config, seed, split, None)


def read_as(config: Config, seed: int, split: SplitName, inputs: Sequence[InputSpec]) -> Examples:
    """Return one split with the columns of a network's `inputs`, whatever words and further columns these data have."""
    return _read(config, seed, split, inputs[0].columns or None)


def _read(config: Config, seed: int, split: SplitName, columns: Sequence[Column] | None) -> Examples:
    test = [partial(_table, config.test_path, config)] if config.test_path else []
    needed = test if split == "test" else []
    table, *test_tables = read_all([partial(_table, config.path, config), *needed], [] if needed else test)
    _check_label(table, config)
    class_names, labels = training_labels(table, config.label, config)
    shares = (config.validation_share, None if config.test_path else config.test_share)
    drawn = draw(labels, seed, *shares, str(table.path))
    train, notes = table.cells.iloc[drawn.train], [*table.notes, *notes_on_split(class_names, labels, drawn, *shares)]
    if columns is None:
        columns, left_out = _columns(table, config, train)
        notes += left_out
        notes += [f"the column '{one.name}' has one value in training: {train[one.name].iloc[0]}" for one in columns
                  if train[one.name].nunique() == 1]  # fmt: skip
        for column in columns:
            notes += notes_on_alike(column.words, f"words of the column '{column.name}'")
    chosen, chosen_labels = table, labels[getattr(drawn, split)]
    rows = getattr(drawn, split)
    for chosen in test_tables:
        chosen_labels = test_labels(chosen, config.label, class_names, config)
        rows = np.arange(len(chosen.cells))
    check_rows(chosen_labels, split, str(chosen.path))
    stored = _numbers(chosen, rows, columns, config)
    seen = stored if split == "train" else _numbers(table, drawn.train, columns, config)
    mean, std = _standardisation(seen, columns)
    if unseen := unseen_words(stored, [asdict(column) for column in columns]):
        listed = ", ".join(f"'{name}' in {count:,}" for name, count in unseen.items())
        notes.append(f"{split} rows with a word that training lacks: {listed} of {len(stored):,}")
    examples = examples_of(stored, chosen_labels, class_names, mean, std)
    given = replace(examples.inputs["inputs"], columns=tuple(columns))
    return replace(examples, inputs={"inputs": given}, notes=tuple(notes))


def _check_label(table: Table, config: Config) -> None:
    for name in (config.label, *config.features, *config.words):
        check_column(table, name)
    if config.label in config.features:
        raise InputError(
            f"{table.path}: '{config.label}' is the label, and cannot be a feature too. Change 'features' or 'label'."
        )


def _table(path: str, config: Config) -> Table:
    return read_table(existing(path), config)


def _columns(table: Table, config: Config, train: pd.DataFrame) -> tuple[tuple[Column, ...], list[str]]:
    """Return the columns to learn from, and what was left out of them and why. Their words are those of the rows `train`."""
    chosen, notes = list(config.features), []
    if not chosen:
        others = [name for name in table.cells.columns if name != config.label]
        reasons = {name: _reason_to_leave_out(name, table.cells[name], config) for name in dict.fromkeys(others)}
        chosen = [name for name, reason in reasons.items() if not reason]
        notes = [f"left out the column '{name}': {reason}" for name, reason in reasons.items() if reason]
    if not chosen:
        why = "; ".join(notes) or "it has the label alone"
        raise InputError(f"{table.path}: no column is left to learn from: {why}. Change 'features' or 'label'.")
    label = table.cells[config.label]
    notes += [
        f"the column '{name}' alone determines the class of every row: is it the label in other words?"
        for name in chosen
        if _repeats(table.cells[name], label)
    ]
    return tuple(_column(table, name, train, config) for name in chosen), notes


def _reason_to_leave_out(name: str, cells: pd.Series | pd.DataFrame, config: Config) -> str:
    """Return why a column is not learned from unless it is named; "" for other columns."""
    if not name:
        return "it has no name"
    values = cells.dropna()
    if not len(values):
        return "it is empty"
    assert isinstance(values, pd.Series), "only unnamed columns may have one name"
    kind = kind_of(values, config)
    if isinstance(kind, Wrong) or name in config.words or len(values) < len(cells) or not values.is_unique:
        return ""
    if kind == "words":
        return "it has another word in every row"
    if kind == "number":
        found = numbers(values, config)
        if isinstance(found, pd.Series) and _counts_rows(found.to_numpy()):
            return "it numbers the rows"
        if isinstance(found, pd.Series) and not (found % 1).any() and _ID.fullmatch(name):
            return "it identifies the rows, by its name and its values"
    return ""


def _repeats(column: pd.Series, label: pd.Series) -> bool:
    """Return whether a column has one value for each class, and no other."""
    if not pd.api.types.is_scalar(column.iloc[0]):
        return False
    pairs = pd.DataFrame({"value": column.astype(str), "class": label.astype(str)})[label.notna()].drop_duplicates()
    return len(pairs) == pairs["value"].nunique() == pairs["class"].nunique()


def _counts_rows(values: np.ndarray) -> bool:
    """Return whether `values` are consecutive in the order of the rows, or a permutation of 0 to n - 1 or of 1 to n."""
    ordered = np.sort(values)
    is_permutation = ordered[0] in (0, 1) and bool((np.diff(ordered) == 1).all())
    return len(values) > 2 and (is_permutation or bool((np.diff(values) == 1).all()))


def _column(table: Table, name: str, train: pd.DataFrame, config: Config) -> Column:
    check_full(table, name, _FULL, config)
    kind = _kind(table, name, config)
    if kind != "words":
        return Column(name=name, kind=kind)
    words = sorted(set(train[name].astype(str)))
    if len(words) > config.max_values:
        raise InputError(
            f"{table.path}: column '{name}' has {len(words):,} different words, more than max_values = {config.max_values}. "
            "Leave it out of 'features', or raise 'max_values'."
        )
    return Column(name=name, kind="words", words=tuple(words))


_FULL = "Fill them in, remove those rows, or leave the column out of 'features'."


def _kind(table: Table, name: str, config: Config) -> ColumnKind:
    found = kind_of(table.cells[name], config)
    if isinstance(found, Wrong):
        raise InputError(f"{table.path}: column '{name}' {found.why}. {found.remedy}")
    return found


def _numbers(table: Table, rows: np.ndarray, columns: Sequence[Column], config: Config) -> np.ndarray:
    """Return the rows of a table as the numbers of `columns`. Raises `InputError` for a value that does not fit its column."""
    cells = {}
    for column in columns:
        check_column(table, column.name)
        whole = table.cells[column.name]
        check_full(table, column.name, _FULL, config)
        found = numbers(whole, config) if column.kind == "number" else whole
        if isinstance(found, Wrong):
            raise InputError(f"{table.path}: column '{column.name}' {found.why}. {found.remedy}")
        wrong = found.isna().to_numpy()
        if column.kind == "number":
            wrong = ~np.isfinite(found.to_numpy(dtype=np.float64))
        if wrong.any():
            row = int(wrong.argmax())
            why = "but is numeric in training. Use the same type in both."
            if np.isinf(pd.to_numeric(found, errors="coerce").iloc[row]):
                why = "which is no finite number. Replace the value, or remove the row."
            raise InputError(
                f"{table.path}: column '{column.name}' holds '{whole.iloc[row]}' in row {row} (the first is 0), {why}"
            )
        cells[column.name] = found.iloc[rows].to_numpy()
    try:
        return numbers_of(cells, [asdict(column) for column in columns])
    except ValueError as error:
        raise InputError(f"{table.path}: {error} of those read. Use the same type as in training.") from None


def _standardisation(stored: np.ndarray, columns: Sequence[Column]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the deviation of every number of the rows `stored`: 0 and 1 for words, and 1 for constant columns."""
    is_word = np.concatenate([np.full(column.width, column.kind == "words") for column in columns])
    mean, std = np.zeros(len(is_word)), np.ones(len(is_word))
    for place in np.flatnonzero(~is_word):
        mean[place], spread = stored[:, place].mean(), stored[:, place].std()
        std[place] = spread if spread > 1e-12 * abs(mean[place]) else 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
