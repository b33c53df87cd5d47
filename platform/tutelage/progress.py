"""The progress of a sweep on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tutelage.console import plain
from tutelage.measure import Measure
from tutelage.records.observer import EpochEnded, Event, StageStarted, SweepStarted, TrialEnded
from tutelage.records.trial import TrialRecord


class Progress:
    """An observer that prints events; use it as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._primary: Measure | None = None
        self._num_trials: int | None = None
        self._states = Counter[str]()
        self._running: dict[str, Mapping[str, Any]] = {}
        self._front = "no front yet"
        self._started_s = time.monotonic()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._table)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            with contextlib.suppress(OSError):  # the terminal may be closed
                self._live.stop()

    def __call__(self, event: Event) -> None:
        """Print a line about a stage or an ended trial; keep the rest for the live table."""
        match event:
            case SweepStarted():
                self._num_trials, self._primary = event.num_trials, event.primary
            case StageStarted():
                self._print(event.text)
            case EpochEnded():
                self._running = {**self._running, event.trial_id: event.row}
            case TrialEnded():
                self._trial_ended(event)

    def _print(self, text: str) -> None:
        self._console.print(plain(f"[{time.monotonic() - self._started_s:6.1f} s] {text}"))

    def _trial_ended(self, event: TrialEnded) -> None:
        record = event.record
        self._running = {trial: row for trial, row in self._running.items() if trial != record.trial_id}
        self._states[record.state] += 1
        self._front = f"front of {event.front_size}, hypervolume {event.hypervolume:,.6g}"
        if not event.is_replayed:
            why = record.error.strip().splitlines()[-1] if record.error else ""
            self._print(f"{record.trial_id} {record.state:10} {self._quality_of(record) or why}  {self._front}")

    def _quality_of(self, record: TrialRecord) -> str:
        """Return the quality and the size of an ended trial's student as text."""
        if record.state == "stopped" and record.curve:
            return f"after {len(record.curve)} epochs, at {self._quality(record.curve[-1])}"
        quality, measures = self._quality(record.measures), record.measures
        shown = f"{quality}, {measures['params']:,.0f} parameters" if quality and "params" in measures else quality
        return f"{len(record.candidates)} candidates, that of the config: {shown}" if record.candidates else shown

    def _quality(self, measures: Mapping[str, float]) -> str:
        """Return the primary measure as text, "" if it was not measured."""
        if self._primary is None or self._primary.name not in measures:
            return ""
        return f"{self._primary.label} {self._primary.text_with_unit(measures[self._primary.name])}"

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        ended = sum(self._states.values())
        of = f" of {self._num_trials}" if self._num_trials else ""
        table.add_row(f"{ended}{of} trials ended", self._front)
        for trial_id, row in sorted(self._running.items()):
            table.add_row(trial_id, f"epoch {row['epoch']:.0f}, {self._quality(row)}")
        return table
