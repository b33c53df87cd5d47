"""The ledger of a sweep: a line of JSON when a trial starts, and another when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tutelage.records.json_lines import JsonLines
from tutelage.records.trial import OPEN, TrialRecord
from tutelage.redaction import redact


class Ledger:
    """The trials of a sweep, the source of everything else that is known of them; a later line of a trial replaces an earlier.

    A record is on the disk before `append` returns. A line that is not a record raises `WorkFailed`.
    """

    def __init__(self, lines: JsonLines) -> None:
        self._lines, self.path = lines, lines.path

    def append(self, record: TrialRecord) -> None:
        """Add one record, its error without secrets."""
        self._lines.append(replace(record, error=redact(record.error)).document())

    def read(self) -> list[TrialRecord]:
        """Return the latest record of every trial, in order of suggestion."""
        latest = {record.number: record for record in self._records()}
        return [latest[number] for number in sorted(latest)]

    def ended(self) -> list[TrialRecord]:
        """Return the latest record of every trial that has ended, in the order in which they ended."""
        return list({record.number: record for record in self._records() if record.state not in OPEN}.values())

    def set_aside_broken(self) -> int:
        """Move broken lines to a file beside this one; return how many these were."""
        return self._lines.set_aside_broken(self._record)

    def _records(self) -> Iterator[TrialRecord]:
        for number, document in enumerate(self._lines.read(), 1):
            yield self._record(number, document)

    def _record(self, number: int, document: dict[str, Any]) -> TrialRecord:
        try:
            return TrialRecord.from_document(document)
        except (TypeError, KeyError, AttributeError) as error:
            raise self._lines.broken(number, error) from error


def is_trained(record: TrialRecord) -> bool:
    """Return whether the record counts as one of a sweep's students: not if it was rejected, or stopped, before training."""
    return record.state != "infeasible" and not (record.state in ("failed", "stopped") and not record.started_s)
