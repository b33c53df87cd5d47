"""An append-only file with one JSON object a line, as the ledger, the events and the reruns of a sweep are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import WorkFailed
from tutelage.storage import Storage


class JsonLines:
    """The lines of one file of a storage; any number of processes may append to it.

    A line is on the disk before `append` returns. A last line that a crash cut short is left out; a broken line anywhere
    else raises `WorkFailed`, which names it and ends with the `way_out`.
    """

    def __init__(self, storage: Storage, key: str, way_out: str = "Restore the file.") -> None:
        self.storage, self.key, self._way_out = storage, key, way_out

    @property
    def path(self) -> Path:
        """Where the file can be read on this machine."""
        return self.storage.local_path(self.key)

    def append(self, document: Mapping[str, Any], *, durable: bool = True) -> None:
        """Add a line; NaN and infinity raise `ValueError`, a full disk `StorageFailed`, and both leave the file as it was."""
        self.storage.append(self.key, json.dumps(document, allow_nan=False, separators=(",", ":")), durable=durable)

    def read(self) -> list[dict[str, Any]]:
        """Return all lines, oldest first."""
        return [self._parsed(line, number) for number, line in enumerate(self.storage.lines(self.key), 1)]

    def _parsed(self, line: str, number: int) -> dict[str, Any]:
        try:
            line.encode()  # bytes that are not UTF-8 came as lone surrogates
            document = json.loads(line)
        except (UnicodeEncodeError, json.JSONDecodeError, RecursionError) as error:
            why = "not UTF-8" if isinstance(error, UnicodeEncodeError) else error
            raise self.broken(number, why) from error
        if not isinstance(document, dict):
            raise self.broken(number, "not a JSON object")
        return document

    def broken(self, number: int, why: object) -> WorkFailed:
        """Return the error that names the line that cannot be used, and the reason."""
        return WorkFailed(f"{self.path}:{number}: not a line of this file ({why}). {self._way_out}")

    def set_aside_broken(self, check: Callable[[int, dict[str, Any]], object]) -> int:
        """Move the lines that are broken, or that `check(number, document)` raises `WorkFailed` for, to `<key>.damaged`.

        Returns how many these were. The caller is the only writer.
        """
        lines, broken = self.storage.lines(self.key), list[int]()
        for number, line in enumerate(lines, 1):
            try:
                check(number, self._parsed(line, number))
            except WorkFailed:
                broken.append(number)
        if broken:
            aside = [*self.storage.lines(f"{self.key}.damaged"), *(lines[number - 1] for number in broken)]
            self.storage.put(f"{self.key}.damaged", _bytes_of(aside))
            self.storage.put(self.key, _bytes_of([line for number, line in enumerate(lines, 1) if number not in broken]))
        return len(broken)


def _bytes_of(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
