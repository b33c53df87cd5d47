"""Parquet files, whose size in memory is checked before they are read: a few bytes may stand for any number of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from tutelage.data._memory import check_memory, machine_bytes

_VALUE_BYTES = 8  # of a number
_MAX_BATCH_ROWS = 65_536


def read(path: Path) -> pd.DataFrame:
    """Return the table; a named index is a column. Raises `InputError` for one that is larger than this machine's memory."""
    with pyarrow.parquet.ParquetFile(path) as file:
        _check_size(file, path)
    cells = pd.read_parquet(path)
    named = [level for level in cells.index.names if level is not None and level not in cells.columns]
    cells = cells.reset_index(level=named) if named else cells
    cells.columns = cells.columns.map(str)
    return cells.reset_index(drop=True)


def _check_size(file: Any, path: Path) -> None:
    """Check the bytes that the file states, a number in every cell, and the text: one long word may stand in all rows."""
    about = file.metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    stated = sum(group.total_byte_size for group in groups)
    check_memory(max(stated, about.num_rows * about.num_columns * _VALUE_BYTES), str(path))
    chunks = [group.column(number) for group in groups for number in range(about.num_columns)]
    text = [chunk for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"]
    if not text:
        return
    longest = max(1, *(chunk.total_uncompressed_size for chunk in text))  # no word is longer than all that is stored
    rows = min(_MAX_BATCH_ROWS, max(1, machine_bytes() // (4 * longest)))
    total = 0
    for batch in file.iter_batches(rows, columns=list(dict.fromkeys(chunk.path_in_schema for chunk in text))):
        total += batch.nbytes
        check_memory(total, str(path))
