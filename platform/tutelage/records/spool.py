"""The spool of a sweep's tracking: a file with one piece of work for MLflow a line, kept until MLflow has received it.

`tracking.spool` begins with a line that names the spool; `tracking.done` counts its bytes that MLflow has received. A line
is with the operating system before `append` returns, so a killed process loses nothing; it is not forced to the disk, because
the sweep's ledger is, and resuming writes again what a power cut took from here. Work may be given out twice, after a crash
between its writing and the note of it; writing it twice must be harmless.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tutelage.errors import InputError, WorkFailed
from tutelage.storage import LeaseHeld, StorageFailed, open_storage

NOTE_EVERY_S = 1.0


_WAY_OUT = "Remove the file: `tutelage resume` writes to MLflow what it lacks of the trials."


Work = dict[str, Any]


class Spool:
    """The spool at `path`, leased by this process: `InputError` if another has it. Safe for one writer and one reader thread.

    `anew` drops what it holds.

    `key` names the spool as long as it exists. A last line cut short by a crash is left out; a broken line before it raises
    `WorkFailed`.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self.path, self._storage = path, open_storage(path.parent)
        self._note, self._refused = path.with_suffix(".done"), path.with_suffix(".refused")
        self._lock, self._lease = threading.Lock(), ExitStack()
        try:
            self._lease.enter_context(self._storage.lease(path.name))
        except LeaseHeld as held:
            raise InputError(f"{path}: {held.holder} writes this sweep's tracking. Wait until it ends.") from None
        try:
            if anew:
                self._storage.remove(path.name)
            self.key, start = self._header()
            self._position = self._noted(start)
            self._waiting = self._check()
        except BaseException:
            self._lease.close()
            raise
        self._noted_s = time.monotonic()

    def _header(self) -> tuple[str, int]:
        """Return the spool's key, and the position of its first piece of work; a new spool gets a key."""
        if not self._storage.lines(self.path.name):
            self._storage.append(self.path.name, _line({"spool": uuid.uuid4().hex, "version": 1}))
        line = self._storage.lines(self.path.name)[0]
        try:
            return str(json.loads(line)["spool"]), len(line.encode()) + 1
        except (ValueError, KeyError, TypeError) as error:
            raise WorkFailed(f"{self.path}: its first line is broken ({error}). {_WAY_OUT}") from error

    def _noted(self, start: int) -> int:
        """Return the position of the first work that is not done; `start` if there is no note, or a damaged one."""
        if not self._note.exists():
            return start
        end = self.path.read_bytes().rfind(b"\n") + 1
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return max(start, min(int(note["bytes"]), end)) if note["spool"] == self.key else start
        except (ValueError, KeyError, TypeError):  # work that is done twice is harmless
            return start

    def _check(self) -> int:
        """Return how many pieces of work wait, after parsing each."""
        with self.path.open("rb") as file:
            file.seek(self._position)
            lines = [line for line in file if line.endswith(b"\n")]
        for number, line in enumerate(lines, 1):
            try:
                json.loads(line)
            except ValueError as error:
                raise WorkFailed(f"{self.path}: line {number} of those that wait is broken ({error}). {_WAY_OUT}") from error
        return len(lines)

    @property
    def waiting(self) -> int:
        """How many pieces of work are not done."""
        return self._waiting

    def append(self, work: Mapping[str, Any]) -> None:
        """Add work; NaN and infinity raise `ValueError`, a full disk `StorageFailed`, and both leave the file as it was."""
        line = _line(work)
        with self._lock:
            self._storage.append(self.path.name, line, durable=False)
            self._waiting += 1

    def oldest(self) -> Work | None:
        """Return the oldest work that is not done, without removing it; None if there is none."""
        if self._waiting == 0:
            return None
        with self.path.open("rb") as file:
            file.seek(self._position)
            self._line = file.readline()
        work: Work = json.loads(self._line)
        return work

    def done(self) -> None:
        """Remove the work that `oldest` returned. The position is written to the disk once a second, and on closing."""
        with self._lock:
            self._position += len(self._line)
            self._waiting -= 1
        if time.monotonic() - self._noted_s > NOTE_EVERY_S:
            self._write_note()

    def refuse(self, why: str) -> None:
        """Remove the work that `oldest` returned, and keep it with the reason in `tracking.refused`."""
        with suppress(StorageFailed):  # the sender reports the reason
            self._storage.append(self._refused.name, _line({"why": why, "work": json.loads(self._line)}))
        self.done()

    def _write_note(self) -> None:
        with suppress(StorageFailed):  # work that is done twice is harmless
            self._storage.put(self._note.name, _line({"spool": self.key, "bytes": self._position}))
        self._noted_s = time.monotonic()

    def close(self) -> None:
        """Release the spool; one whose work is all done is removed."""
        if self._waiting:
            self._write_note()
        else:
            with suppress(StorageFailed):
                self._storage.remove(self.path.name)
                self._storage.remove(self._note.name)
        self._lease.close()


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"))
