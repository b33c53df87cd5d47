"""Tables read from CSV and Parquet files, cell by cell as they are written; delimiter and encoding are inferred."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from tutelage.data import _parquet
from tutelage.data._memory import check_memory
from tutelage.errors import InputError, nearest
from tutelage.plugins import PluginConfig

_FIRST_RECORDS = 50  # that the delimiter is inferred from
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"ARROW1": "an Arrow file",
    b"SQLite f": "a database",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF",
}
_GZIP = b"\x1f\x8b"
_READ_TIMES = 3  # the memory that reading a text takes, at least, in times its bytes
_MAX_LINE_CHARS = 2**24
_CHUNK_BYTES = 2**20
_MARKS = {  # of a text's first bytes
    b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip


class FormatConfig(PluginConfig):
    """How the text of a CSV file is written. What is not given is inferred, and a sweep prints what it inferred."""

    delimiter: str | None = Field(None, min_length=1, description="between the cells: ',', ';', '|' or a tab; empty: inferred")
    encoding: str | None = Field(None, description="of the text, such as cp1252; empty: UTF-8, or UTF-16 by its first bytes")
    missing: tuple[str, ...] | None = Field(
        None, strict=False, description="words for a missing value, such as '?'; empty: those of pandas, such as NA and null"
    )


class Table(NamedTuple):
    """The cells of a file, and what was inferred to read it. The cells of CSV files are text or missing."""

    cells: pd.DataFrame
    path: Path
    notes: tuple[str, ...]
    is_text: bool = True


def read(path: Path, config: FormatConfig) -> Table:
    """Return the table in a .parquet file or in a text file; raises `InputError` for what cannot be read.

    The names of unnamed columns are "". A named Parquet index is a column.
    """
    kind = _kind(path)
    try:
        cells, notes = (_parquet.read(path), []) if kind == "Parquet" else _csv(path, config)
    except InputError:
        raise
    except UnicodeError as error:
        raise InputError(
            f"{path}: is not {config.encoding or 'UTF-8'} ({error}). Set 'encoding' to the file's own, such as cp1252 or "
            "latin-1, or save it as UTF-8."
        ) from error
    except LookupError as error:
        raise InputError(f"{path}: {error}. Set 'encoding' to one of Python's, such as cp1252.") from error
    except Exception as error:  # pandas and pyarrow raise many kinds for a broken file
        raise InputError(
            f"{path}: cannot be read as {kind} ({str(error).strip().rstrip('.')}). Save the file again."
        ) from error
    named = [name for name in cells.columns if name]
    if repeated := [name for name, count in Counter(named).items() if count > 1]:
        raise InputError(f"{path}: has the column '{repeated[0]}' more than once. Rename one.")
    return Table(cells, path, tuple(notes), kind == "CSV")


def _kind(path: Path) -> str:
    """Return "Parquet" or "CSV" by a file's first bytes and its name; `InputError` for what is neither."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Give the file of the table.")
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix == ".parquet" or start.startswith(b"PAR1"):
        return "Parquet"
    for mark, what in _OTHERS.items():
        if start.startswith(mark):
            raise InputError(f"{path}: is {what}, not a CSV or Parquet file. Save the table as .csv or .parquet.")
    return "CSV"


def check_column(table: Table, name: str) -> None:
    """Raise `InputError` with the nearest name for a column that the table does not have."""
    if name not in table.cells:
        names = [str(other) for other in table.cells.columns]
        raise InputError(f"{table.path}: no column '{name}'.{nearest(name, names)} The table has {', '.join(names[:20])}.")


def check_full(table: Table, name: str, remedy: str, config: FormatConfig) -> None:
    """Raise `InputError` (column, row) for a missing value or an infinite number in a column."""
    column = table.cells[name]
    empty = column.isna().to_numpy()
    if pd.api.types.is_float_dtype(column):
        empty = ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if not empty.any():
        return
    row = int(np.argmax(empty))
    word = str(written(table, name, config)[row]).strip()
    what = f"holds '{word}'" if word else "has no value"
    raise InputError(
        f"{table.path}: column '{name}' {what} in row {row} (the first is 0), {int(empty.sum()):,} in all. {remedy}"
    )


def written(table: Table, name: str, config: FormatConfig) -> np.ndarray:
    """Return a column's cells as text, those of a text file as they stand there; a missing value is ""."""
    cells = table.cells
    if table.is_text:
        cells, _ = _csv(table.path, config.model_copy(update={"missing": ()}))
    return cells[name].astype(object).where(cells[name].notna(), "").astype(str).to_numpy(dtype=np.str_)


def _csv(path: Path, config: FormatConfig) -> tuple[pd.DataFrame, list[str]]:
    _check_size(path)
    encoding = config.encoding or _encoding(path)
    stated = _stated_delimiter(path, encoding)
    skipped = 1 if stated else 0
    delimiter = config.delimiter or stated or _delimiter(path, encoding)
    names = _names(list(islice(_records(path, encoding, delimiter, skipped), _FIRST_RECORDS)))
    _check_lengths(path, encoding, delimiter, skipped, len(names))
    cells = pd.read_csv(
        path, compression="gzip" if _is_packed(path) else None, sep=delimiter, encoding=encoding, skiprows=skipped,
        header=None, names=range(len(names)), dtype=str, skipinitialspace=True,
        keep_default_na=config.missing is None, na_values=["", *(config.missing or ())],
    )[1:].reset_index(drop=True)  # fmt: skip
    cells.columns = pd.Index(names, dtype=object)
    notes = [] if delimiter == "," else [f"the delimiter is a {_NAMES.get(delimiter, delimiter)}"]
    notes += [] if encoding.startswith("utf-8") else [f"the encoding is {encoding}"]
    return cells.apply(lambda column: column.str.strip()), notes


def _encoding(path: Path) -> str:
    """Return UTF-8, or UTF-16 or -32 by the file's first bytes: a mark, or the zeros beside the letters of a header."""
    with _opened(path) as file:
        start = file.read(16)
    by_mark = next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)
    zeros = (start[::2].count(0), start[1::2].count(0))
    by_zeros = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be" if zeros[0] > zeros[1] else "utf-8"
    return by_mark or by_zeros


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if _is_packed(path) else path.open("rb")  # type: ignore[return-value]


def _check_size(path: Path) -> None:
    """Raise `InputError` for a text that is too long for this machine's memory; a packed one is unpacked to count its bytes."""
    check_memory(path.stat().st_size, str(path), _READ_TIMES)
    if not _is_packed(path):
        return
    total = 0
    with _opened(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            total += len(chunk)
            check_memory(total, str(path), _READ_TIMES)


def _lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    while line := text.readline(_MAX_LINE_CHARS):
        if len(line) == _MAX_LINE_CHARS:
            raise InputError(f"{path}: has a line of more than {_MAX_LINE_CHARS:,} characters. Is it the right file?")
        yield line


def _stated_delimiter(path: Path, encoding: str) -> str | None:
    """Return the delimiter in a first line "sep=;", as Excel writes it; None if there is no such line."""
    with _opened(path) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        found = re.fullmatch(r"\ufeff?sep=(.)\s*", text.readline(16), re.IGNORECASE)
    return found[1] if found else None


def _records(path: Path, encoding: str, delimiter: str, skipped: int = 0) -> Iterator[list[str]]:
    """Yield the records of a file, the header included, without blank lines and without the first `skipped` lines."""
    with _opened(path) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
        lines = islice(_lines(text, path), skipped, None)
        yield from (record for record in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if any(record))


def _check_lengths(path: Path, encoding: str, delimiter: str, skipped: int, width: int) -> None:
    """Raise `InputError` for a record with fewer cells than the header; pandas takes the absent ones for missing values."""
    for number, record in enumerate(_records(path, encoding, delimiter, skipped)):
        if len(record) < width and number:
            raise InputError(
                f"{path}: row {number - 1} (the first is 0) has {len(record)} of {width} cells. Is the file complete? Write a "
                f"delimiter for each empty cell too."
            )


def _delimiter(path: Path, encoding: str) -> str:
    """Return the delimiter that splits the first records into the most fields, as many in each; a comma if none does."""

    def fields(delimiter: str) -> int:
        header, *rest = list(islice(_records(path, encoding, delimiter), _FIRST_RECORDS)) or [[]]
        usual = Counter(len(record) for record in rest).most_common(1)
        return len(header) if not usual or usual[0][0] in (len(header), len(header) + 1) else 0

    return max(_NAMES, key=fields)  # the first of equals


def _names(records: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of the columns: those of the header, and "" for one more field that every record has."""
    if not records:
        return []
    header, rest = [name.strip() for name in records[0]], records[1:]
    if not rest or {len(record) for record in rest} != {len(header) + 1}:
        return header
    return [*header, ""] if not any(record[-1] for record in rest) else ["", *header]
