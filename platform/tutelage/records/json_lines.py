"""An append-only file with one JSON object a line, as the ledger, the events and the reruns of a sweep are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import WorkFailed
from tutelage.storage import Storage


class JsonLines:
    """The lines of one file of a storage; any number of processes may append to it.

    A line is on the disk before `append` returns. A last line that a crash cut short is left out; a broken line anywhere
    else raises `WorkFailed`, which names it.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage, self.key = storage, key

    @property
    def path(self) -> Path:
        """Where the file can be read on this machine."""
        return self.storage.local_path(self.key)

    def append(self, document: Mapping[str, Any], *, durable: bool = True) -> None:
        """Add a line; NaN and infinity raise `ValueError`, a full disk `OSError`, and both leave the file as it was."""
        self.storage.append(self.key, json.dumps(document, allow_nan=False, separators=(",", ":")), durable=durable)

    def read(self) -> list[dict[str, Any]]:
        """Return all lines, oldest first."""
        return [self._parsed(line, number) for number, line in enumerate(self.storage.lines(self.key), 1)]

    def _parsed(self, line: str, number: int) -> dict[str, Any]:
        try:
            document = json.loads(line)
        except json.JSONDecodeError as error:
            raise self.broken(number, error) from error
        if not isinstance(document, dict):
            raise self.broken(number, "not a JSON object")
        return document

    def broken(self, number: int, why: object) -> WorkFailed:
        """Return the error that says which line cannot be used, and why."""
        return WorkFailed(f"{self.path}:{number}: not a line of this file ({why}). Restore the file.")
