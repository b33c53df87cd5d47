"""What a sweep keeps of its trials: a line of JSON as each one begins, and another as it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import WorkFailed

State = Literal["running", "paused", "finished", "stopped", "failed", "infeasible"]

OPEN = ("running", "paused")  # states of a trial that has not ended


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One student under the search, from suggestion to its last measure.

    `number` is the order of suggestion from 0; `params` holds only the searched values that are active; `config` is the
    whole resolved `student`, `distillation` and `sparsity`; `identity` is the content address of all that its training
    depends on; `origin` says what proposed it, and `notes` are the sampler's own; `sizes` were known before training; `curve`
    has one row an epoch; the `_s` fields are seconds.
    """

    number: int
    trial_id: str
    state: State
    params: dict[str, str | int | float | bool]
    config: dict[str, Any]
    measures: dict[str, float]
    curve: tuple[dict[str, float], ...] = ()
    identity: str = ""
    origin: str = "sampler"
    notes: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    error: str = ""
    started_s: float = 0.0
    elapsed_s: float = 0.0
    step_s: float = 0.0

    def rows_at(self, epochs: Collection[int]) -> list[dict[str, float]]:
        """Return the curve's rows after these epochs."""
        return [row for row in self.curve if row["epoch"] in epochs]

    def to_json(self) -> str:
        """Return the record as one line of strict JSON."""
        return json.dumps(asdict(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> TrialRecord:
        """Read back what `to_json` wrote."""
        fields = json.loads(line)
        return cls(**{**fields, "curve": tuple(fields["curve"])})


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
