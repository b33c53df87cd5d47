"""The candidates of a sweep as columns: one list a field, one entry a candidate, in the order in which their trials ended."""

from __future__ import annotations

import math
import sys
import threading
import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tutelage.records.trial import TrialRecord

NO_PARENT = -1  # of a candidate that is not the rung of a ladder above the first


class Rows:
    """Candidates of ended trials, one row each; a row never changes its place. Safe for one adding and one reading thread.

    `searched` are the names of the searched values. The `revision` of two documents is the same if the rows that both have
    differ in `is_on_front` only.
    """

    def __init__(self, searched: Collection[str]) -> None:
        self._lock = threading.Lock()
        self._fixed: dict[str, list[Any]] = {
            name: [] for name in ("id", "trial", "candidate", "parent", "run_id", "state", "is_feasible", "is_on_front",
                                  "finished_at", "provenance")
        }  # fmt: skip
        self._measures: dict[str, list[float | None]] = {}
        self._last: dict[str, list[float | None]] = {}
        self._params: dict[str, list[Any]] = {name: [] for name in searched}
        self._places: dict[str, int] = {}
        self._started_ms: int | None = None
        self._name, self._num_filled, self._num_shown = uuid.uuid4().hex, 0, 0

    def __len__(self) -> int:
        return len(self._places)

    def add(self, record: TrialRecord, labels: Mapping[str, str]) -> None:
        """Add the candidates of an ended trial; `labels` are those of `TrialEnded`. A trial that is there is left as it is."""
        with self._lock:
            if record.started_s:
                self._started_ms = min(self._started_ms or sys.maxsize, int(record.started_s * 1000))
            rungs: dict[int | None, int] = {}
            for one in record.per_candidate():
                if one.trial_id not in self._places:
                    rungs[one.rung] = self._add(one, labels[one.trial_id], rungs.get((one.rung or 0) - 1, NO_PARENT))

    def leave_front(self, names: Iterable[str]) -> None:
        """Mark candidates as dominated."""
        with self._lock:
            for name in names:
                self._fixed["is_on_front"][self._places[name]] = False

    def place(self, name: str) -> int | None:
        """Return the row of a candidate."""
        return self._places.get(name)

    def document(self, run_ids: Mapping[str, str]) -> dict[str, Any]:
        """Return a copy of all rows, with the ids of their runs as far as `run_ids` has them."""
        with self._lock:
            self._fill(run_ids)
            self._num_shown = len(self)
            fixed = {name: list(column) for name, column in self._fixed.items()}
            measures = {name: list(column) for name, column in self._measures.items()}
            last = {name: list(column) for name, column in self._last.items()}
            params = {name: list(column) for name, column in self._params.items()}
            about = {"n": len(self), "revision": f"{self._name}-{self._num_filled}", "started_at": self._started_ms}
            return {**about, **fixed, "values": measures, "last": last, "params": params}

    def _add(self, record: TrialRecord, label: str, parent: int) -> int:
        place = self._places[record.trial_id] = len(self._places)
        ended_ms = int(record.started_s * 1000) + int(record.elapsed_s * 1000) if record.started_s else None
        row = (
            record.trial_id, record.number, record.candidate or 0, parent, None, record.state, label in ("front", "dominated"),
            label == "front", ended_ms, "inherited" if record.is_inherited else "scratch",
        )  # fmt: skip
        for column, value in zip(self._fixed.values(), row, strict=True):
            column.append(value)
        _append(self._measures, {name: finite(value) for name, value in record.measures.items()}, place)
        _append(self._last, _last_of(record), place)
        _append(self._params, record.params, place)
        return place

    def _fill(self, run_ids: Mapping[str, str]) -> None:
        """Fill in ids of runs; the revision changes if a row was shown without its own."""
        column = self._fixed["run_id"]
        for place, name in enumerate(self._fixed["id"]):
            if column[place] is None and name in run_ids:
                column[place] = run_ids[name]
                self._num_filled += place < self._num_shown


def _last_of(record: TrialRecord) -> dict[str, float | None]:
    """Return what is known of a student whose training ended early: its sizes, and the values of its last epoch."""
    if record.state not in ("stopped", "failed") or not record.curve:
        return {}
    return {name: finite(value) for name, value in {**record.sizes_at_rungs, **record.curve[-1]}.items()}


def _append(columns: dict[str, list[Any]], values: Mapping[str, Any], place: int) -> None:
    """Add a row to columns of which each has an entry a row; a value of a new name begins a column."""
    for name in values:
        columns.setdefault(name, [None] * place)
    for name, column in columns.items():
        column.append(values.get(name))


def finite(value: float | None) -> float | None:
    """Return a number, None for NaN and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None
