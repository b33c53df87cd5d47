"""What each column of a table is taken for: numbers, booleans or words; and its cells as such.

Text is read as its owner would read it: numbers with a decimal comma or separated thousands are numbers, codes such as 007 are
words. Where two readings are possible, or a column mixes numbers and words, it is an error whose message has the option to set.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from tutelage.data._tables import FormatConfig
from tutelage.signature import ColumnKind

_PLAIN = r"[+-]?\d+"
_DECIMAL_COMMA = r"[+-]?(\d+|\d{1,3}([. ]\d{3})+)?(,\d+)?([eE][+-]?\d+)?"
_THOUSANDS = r"[+-]?\d{1,3}(,\d{3})*(\.\d*)?|[+-]?\d+(\.\d*)?"
_EITHER = r"[+-]?[1-9]\d{0,2}(,\d{3})|" + _PLAIN  # 1,234 may be above a thousand, or just above one
_LIKE_A_NUMBER = r"[+-]?[$€£¥]?[+-]?[\d.,' ]*\d[\d.,' ]*([eE][+-]?\d+)?\s*[%$€£¥]?"
_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}([t ].*)?|\d{4}-\d{2}|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
_MONTH = r".*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]*\b.*\d{4}.*"
_SPACES, _MINUS = "[\u00a0\u2009\u202f]", "\u2212"  # in numbers of typeset text
_CODE = r"0\d+"  # as a number it would lose its zeros
_LARGEST_EXACT = 2.0**53  # above it, float64 skips whole numbers
_FEW_STRAY, _MANY_NUMBERS = 3, 5
_WAY_OUT = "Correct the column, leave it out of 'features', or name it in 'words' if its values are names."


class ColumnsConfig(FormatConfig):
    """How the cells of a table are read. What is not given is inferred, and a sweep prints what it inferred."""

    decimal: Literal[".", ","] | None = Field(None, description="the decimal sign of numbers in text; empty: inferred")
    thousands: Literal[",", ".", " ", "'"] | None = Field(None, description="what separates thousands in text; empty: inferred")
    words: tuple[str, ...] = Field(
        (), strict=False, description="columns whose values are names, even where they look like numbers or dates"
    )


class Wrong(NamedTuple):
    """Why a column cannot be read, as a clause whose subject is the column, and what to do about it."""

    why: str
    remedy: str = _WAY_OUT


def kind_of(column: pd.Series, config: ColumnsConfig) -> ColumnKind | Wrong:
    """Return what a column with at least one value is taken for, or why it cannot be read."""
    values = column.dropna()
    if column.name in config.words or isinstance(values.dtype, pd.CategoricalDtype):
        return "words"
    if pd.api.types.is_bool_dtype(values):
        return "boolean"
    if pd.api.types.is_complex_dtype(values):
        return "words"
    if pd.api.types.is_numeric_dtype(values) or _all(values, Decimal):
        return found if isinstance(found := numbers(values, config), Wrong) else "number"
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        return _times(values)
    if strange := [value for value in values if not isinstance(value, str | bool | int | float | Decimal)]:
        if hasattr(strange[0], "isoformat"):
            return _times(values)
        return Wrong(
            f"holds values of type {type(strange[0]).__name__}, neither numbers nor words", "Leave it out of 'features'."
        )
    return _kind_of_text(values.astype(str).str.strip(), config)


def _all(values: pd.Series, kind: type) -> bool:
    return values.dtype == object and all(isinstance(value, kind) for value in values)


def _times(values: pd.Series) -> Wrong:
    return Wrong(
        f"holds times, such as {values.iloc[0]}", "Convert them to numbers, leave it out of 'features', or name it in 'words'."
    )


def _kind_of_text(text: pd.Series, config: ColumnsConfig) -> ColumnKind | Wrong:
    if text.str.casefold().isin(("true", "false")).all():
        return "boolean"
    if text.str.fullmatch(_CODE).any():
        return "words"
    numbers = _told_apart(text, _numbers_in(text, config))
    if isinstance(numbers, Wrong):
        return numbers
    stray = text[numbers.isna()]
    if not len(stray):
        return "number"
    if text.str.lower().str.fullmatch(f"{_DATE}|{_MONTH}").mean() >= 0.5:
        return _times(text)
    is_alike = text.str.fullmatch(_LIKE_A_NUMBER)
    few = stray.nunique() <= _FEW_STRAY and numbers.nunique() >= _MANY_NUMBERS
    if is_alike.mean() < 0.5 and not few:
        return "words"
    remedy = f"Set 'missing: [\"{stray.iloc[0]}\"]' if it means a missing value. {_WAY_OUT}"
    return Wrong(
        f"holds numbers, but '{stray.iloc[0]}' in row {stray.index[0]} (the first is 0) is not one, {len(stray):,} in all",
        remedy,
    )


def numbers(column: pd.Series, config: ColumnsConfig) -> pd.Series | Wrong:
    """Return a column as float64, NaN for a missing value and for no number.

    `Wrong` if it can be read in two ways, or holds whole numbers that float64 cannot tell apart.
    """
    return _told_apart(column, _as_float64(column, config))


def _told_apart(column: pd.Series, found: pd.Series | Wrong) -> pd.Series | Wrong:
    """Return the numbers `found` in a column; `Wrong` if different whole numbers have become one."""
    if isinstance(found, Wrong) or not (is_large := found.astype(np.float64).abs() >= _LARGEST_EXACT).any():
        return found
    digits = column[is_large].astype(str).str.strip().str.removeprefix("+")
    whole = digits[digits.str.fullmatch(_PLAIN)]
    if whole.nunique() <= found[whole.index].astype(np.float64).nunique():
        return found
    return Wrong(f"holds whole numbers of too many digits, such as {whole.iloc[0]}: float64 cannot tell them apart")


def _as_float64(column: pd.Series, config: ColumnsConfig) -> pd.Series | Wrong:
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("Float64").astype(np.float64) if column.hasnans else column.astype(np.float64)
    if _all(column.dropna(), Decimal):
        return column.map(float, na_action="ignore").astype(np.float64)
    return _numbers_in(column.astype(str).str.strip().where(column.notna()), config)


def _numbers_in(text: pd.Series, config: ColumnsConfig) -> pd.Series | Wrong:
    """Return the numbers in text, with the signs of `config`; by default, those inferred from what looks like numbers."""
    text = text.str.replace(_SPACES, " ", regex=True).str.replace(_MINUS, "-")
    if config.decimal or config.thousands:
        return _rewritten(text, config.decimal or ("," if config.thousands == "." else "."), config.thousands or "")
    plain = pd.to_numeric(text, errors="coerce")
    alike = text[text.str.fullmatch(_LIKE_A_NUMBER).fillna(False).astype(bool)]
    with_comma = alike[alike.str.contains(",")]
    if not len(with_comma):
        return plain
    if alike.str.fullmatch(_EITHER).all():
        return Wrong(
            f"holds '{with_comma.iloc[0]}', which may be a number above a thousand or one with a decimal comma",
            "Set 'decimal: \",\"' or 'thousands: \",\"'.",
        )
    if alike.str.fullmatch(_THOUSANDS).all():
        return _rewritten(text, ".", ",")
    return _rewritten(text, ",", ". ") if alike.str.fullmatch(_DECIMAL_COMMA).all() else plain


def _rewritten(text: pd.Series, decimal: str, separators: str) -> pd.Series:
    """Return text as numbers; `separators` of thousands are left out, and a number with the other decimal sign is none."""
    signs = {} if decimal == "." else {".": "?", decimal: "."}
    table = str.maketrans({**signs, **dict.fromkeys(separators, "")})
    return pd.to_numeric(text.map(lambda cell: cell.translate(table), na_action="ignore"), errors="coerce")
