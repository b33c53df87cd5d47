"""What is on record of a sweep's students trained again: with fresh seeds, or without their teacher."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tutelage.errors import WorkFailed


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training outside the search: a trial's student, taught or from labels alone, and its quality on validation."""

    trial: str
    taught: bool
    seed: int
    value: float  # primary measure
    elapsed_s: float


class Reruns:
    """The append-only file of a sweep's trainings with fresh seeds; a line is on the disk before `append` returns.

    A last line cut short by a crash is left out; a broken one anywhere else raises `WorkFailed`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, run: Run) -> None:
        """Add a run; a line that a crash cut short goes."""
        whole = len(self._whole().encode())
        with self.path.open("a", encoding="utf-8") as file:
            file.truncate(whole)
            file.write(json.dumps(asdict(run), allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Run]:
        """Return all runs, in the order in which they ended."""
        try:
            return [Run(**json.loads(line)) for line in self._whole().splitlines()]
        except (json.JSONDecodeError, TypeError) as error:
            raise WorkFailed(f"{self.path}: not a record of trainings with fresh seeds ({error}). Restore the file.") from error

    def _whole(self) -> str:
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return text[: text.rfind("\n") + 1]

    def values(self, seeds: Sequence[int], *, taught: bool) -> dict[str, dict[int, float]]:
        """Return by trial and seed the primary measure of its students, of these seeds."""
        found: dict[str, dict[int, float]] = {}
        for run in self.read():
            if run.taught == taught and run.seed in seeds:
                found.setdefault(run.trial, {})[run.seed] = run.value
        return found
