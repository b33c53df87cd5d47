"""What a sweep keeps of its trials: a line of JSON as each one begins, and another as it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tutelage.errors import WorkFailed
from tutelage.records.trial import OPEN, TrialRecord


class Ledger:
    """The append-only file of a sweep's trials; a later line about a trial replaces an earlier one.

    A line is flushed to the disk before `append` returns. A last line cut short by a crash is left out on reading, and taken
    away by `mend`: what it would have said is unknown. A broken line anywhere else raises `WorkFailed`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: TrialRecord) -> None:
        """Add one line and wait until it is on the disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(record.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[TrialRecord]:
        """Return the latest line of every trial, in order of suggestion; none yet gives an empty list."""
        latest = {record.number: record for record in self._lines()}
        return [latest[number] for number in sorted(latest)]

    def ended(self) -> list[TrialRecord]:
        """Return the latest line of every trial that has ended, in the order in which they ended."""
        return list({record.number: record for record in self._lines() if record.state not in OPEN}.values())

    def mend(self) -> None:
        """Take away a last line that a crash cut short, so that the next one does not run on from it."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
                os.fsync(file.fileno())

    def _lines(self) -> Iterator[TrialRecord]:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        for position, line in enumerate(lines, 1):
            if position == len(lines) and not line.endswith("\n"):
                return
            try:
                yield TrialRecord.from_json(line)
            except (json.JSONDecodeError, TypeError, KeyError) as error:
                raise WorkFailed(f"{self.path}:{position}: not a trial's record ({error}). Restore the file.") from error


def is_trained(record: TrialRecord) -> bool:
    """Return whether the record counts as one of a sweep's students: not if it was refused before training."""
    return record.state != "infeasible" and not (record.state == "failed" and not record.started_s)
