"""The reruns of a sweep: trainings of its students outside the search, with fresh seeds or without their teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.records.json_lines import JsonLines


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training outside the search: of which trial, with its teacher or as a label-only baseline, and its quality."""

    trial: str
    distilled: bool
    seed: int
    value: float  # primary measure
    elapsed_s: float


class Reruns:
    """The append-only file of a sweep's reruns; a run is on the disk before `append` returns."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines, self.path = lines, lines.path

    def append(self, run: Run) -> None:
        """Add a run."""
        self._lines.append(asdict(run))

    def read(self) -> list[Run]:
        """Return all runs, in the order in which they ended; `WorkFailed` for a line that is none."""
        return [self._run(number, document) for number, document in enumerate(self._lines.read(), 1)]

    def set_aside_broken(self) -> int:
        """Move broken lines to a file beside this one; return how many these were."""
        return self._lines.set_aside_broken(self._run)

    def _run(self, number: int, document: dict[str, Any]) -> Run:
        try:
            return Run(**document)
        except TypeError as error:
            raise self._lines.broken(number, error) from error

    def values(self, seeds: Sequence[int], *, distilled: bool) -> dict[str, dict[int, float]]:
        """Return the primary measure of the runs with these seeds on the validation split, by trial and seed."""
        found: dict[str, dict[int, float]] = {}
        for run in self.read():
            if run.distilled == distilled and run.seed in seeds:
                found.setdefault(run.trial, {})[run.seed] = run.value
        return found
