"""A tokenizer file (`tokenizer.json`) of the library `tokenizers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.errors import InputError, first_line


def read(path: Path) -> tuple[Any, int]:
    """Return a tokenizer that neither pads nor truncates, and how many pieces it has. Raises `InputError` for another file."""
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exceptions
        raise InputError(f"{path}: is no tokenizer ({first_line(error)}).") from error
    found.no_padding()
    found.no_truncation()
    return found, max(found.get_vocab(with_added_tokens=True).values(), default=-1) + 1
