"""The write-ahead file of a sweep's tracking: one line of JSON a piece of work, kept until MLflow has it.

`tracking.spool` begins with a line that names the spool; `tracking.done` says how many of its bytes MLflow has. A line is
handed to the operating system in one call before `append` returns, so a killed process loses nothing; it is not forced to
the disk, because the sweep's ledger is, and resuming writes again what a power cut took from here. Work may be given out
twice, after a crash between the writing and its note; whoever writes it makes that harmless.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import InputError, WorkFailed
from tutelage.files import write_json

NOTE_EVERY_S = 1.0


Work = dict[str, Any]


class Spool:
    """The file, open for one process: a second one that opens it gets `InputError`. Safe for one writer and one reader.

    `key` names the spool as long as it lives. A last line cut short by a crash is left out; a broken line before it
    raises `WorkFailed`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._note, self._refused = path, path.with_suffix(".done"), path.with_suffix(".refused")
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._file).st_nlink == 0:  # its last owner removed it between our opening and our lock
                raise BlockingIOError
            self._end = self._cut_torn_line()
            self.key, start = self._header()
            self._position = self._noted(start)
            self._waiting = self._check()
        except BlockingIOError:
            os.close(self._file)
            raise InputError(f"{path}: another process writes this sweep's tracking. Wait until it ends.") from None
        except BaseException:
            os.close(self._file)
            raise
        self._noted_s = time.monotonic()

    def _cut_torn_line(self) -> int:
        whole = self.path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self._file, whole)
        return whole

    def _header(self) -> tuple[str, int]:
        """Return the spool's key and where its work begins; a new spool gets both, and they are on the disk."""
        if self._end == 0:
            self._write(_line({"spool": uuid.uuid4().hex, "version": 1}))
            os.fsync(self._file)
        with self.path.open("rb") as file:
            line = file.readline()
        return str(json.loads(line)["spool"]), len(line)

    def _noted(self, start: int) -> int:
        if not self._note.exists():
            return start
        note = json.loads(self._note.read_text(encoding="utf-8"))
        return min(int(note["bytes"]), self._end) if note["spool"] == self.key else start

    def _check(self) -> int:
        """Return how many pieces of work wait, after a look at each."""
        with self.path.open("rb") as file:
            file.seek(self._position)
            lines = file.readlines()
        for number, line in enumerate(lines, 1):
            try:
                json.loads(line)
            except ValueError as error:
                raise WorkFailed(f"{self.path}: line {number} of those that wait is broken ({error}). Remove it.") from error
        return len(lines)

    @property
    def waiting(self) -> int:
        """How many pieces of work are not done."""
        return self._waiting

    def append(self, work: Mapping[str, Any]) -> None:
        """Add work; NaN and infinity raise `ValueError`, a full disk `OSError`, and both leave the file as it was."""
        line = _line(work)
        with self._lock:
            self._write(line)
            self._waiting += 1

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(line)

    def oldest(self) -> Work | None:
        """Return the oldest work that is not done, without taking it out; None where there is none."""
        if self._waiting == 0:
            return None
        with self.path.open("rb") as file:
            file.seek(self._position)
            self._line = file.readline()
        work: Work = json.loads(self._line)
        return work

    def done(self) -> None:
        """Take out what `oldest` gave. It is noted on the disk once a second, and on closing."""
        with self._lock:
            self._position += len(self._line)
            self._waiting -= 1
        if time.monotonic() - self._noted_s > NOTE_EVERY_S:
            self._write_note()

    def refuse(self, why: str) -> None:
        """Take out what `oldest` gave, and keep it with the reason in `tracking.refused`."""
        with self._refused.open("ab") as file:
            file.write(_line({"why": why, "work": json.loads(self._line)}))
        self.done()

    def _write_note(self) -> None:
        write_json(self._note, {"spool": self.key, "bytes": self._position})
        self._noted_s = time.monotonic()

    def close(self) -> None:
        """Give the file free; one whose work is all done is removed."""
        if self._waiting:
            self._write_note()
        else:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        os.close(self._file)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
