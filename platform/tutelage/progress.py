"""How a sweep goes on, on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tutelage.measure import Measure
from tutelage.records.trial import TrialRecord


class Progress:
    """An observer for people; use it as a context manager."""

    def __init__(self, num_trials: int | None, primary: Measure | None = None) -> None:
        self._primary = primary
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._num_trials, self._states = num_trials, Counter[str]()
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
            self._live.stop()

    def stage(self, text: str) -> None:
        """Print what begins, with the seconds since the start."""
        self._console.print(f"[{time.monotonic() - self._started_s:6.1f} s] {text}", markup=False)

    def epoch(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """Note an epoch; it shows in the live table only."""
        self._running[trial_id] = row

    def trial(self, record: TrialRecord, front_size: int, hypervolume: float) -> None:
        """Print one line about an ended trial."""
        self._running.pop(record.trial_id, None)
        self._states[record.state] += 1
        self._front = f"front of {front_size}, hypervolume {hypervolume:,.6g}"
        measures = record.measures
        quality = self._quality(measures)
        shown = f"{quality}, {measures['params']:,.0f} parameters" if quality and "params" in measures else quality
        if record.state == "stopped" and record.curve:
            shown = f"after {len(record.curve)} epochs, at {self._quality(record.curve[-1])}"
        if record.candidates:
            shown = f"{len(record.candidates)} candidates, the first of {shown}"
        why = record.error.strip().splitlines()[-1] if record.error else ""
        self.stage(f"{record.trial_id} {record.state:10} {shown or why}  {self._front}")

    def _quality(self, measures: Mapping[str, float]) -> str:
        """Return the primary measure in words, where it is there."""
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
