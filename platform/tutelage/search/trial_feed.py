"""The decisions of a search in the driver, and how the results of running trials become records. Independent of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.records.trial import Candidate, State, Suggestion, TrialRecord

if TYPE_CHECKING:  # a trial's process imports this file, but no rules
    from tutelage.search.rules import Decision

STATE = "trial.pt"  # the file of a checkpoint that holds a trial's state


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """The `epochs` after which a trial is judged: `judge(suggestion, row)` is called once at each rung.

    With `pausing`, the state of trials is saved at every rung. A paused trial is recorded as such, leaves its worker, and
    continues from the rung when `next_suggestion` returns its suggestion again.
    """

    epochs: frozenset[int] = frozenset()
    judge: Callable[[Suggestion, dict[str, Any]], Decision] = lambda suggestion, row: "continue"
    pausing: bool = False


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """The callbacks of a search in the driver. `next_suggestion` returns the next one (None: no more, or none yet).

    `on_record` is called once for each trial that ends and each time that one is paused, `on_epoch` with a trial's name and
    an epoch's row, `on_news` with what the user is to read: what no trial could start for, and each loss of a worker.
    `on_retry` is called with the name of a trial that continues after its worker was lost.
    `keep_spare` is called after the first result and after each death of a worker: a process may be made ready for the next
    one. `spent_s` has the seconds of trials that have not ended, by number: of earlier drivers at first, then all.
    """

    next_suggestion: Callable[[], Suggestion | None]
    on_record: Callable[[TrialRecord], None]
    on_epoch: Callable[[str, dict[str, Any]], None] = lambda trial_id, row: None
    on_news: Callable[[str], None] = lambda text: None
    on_retry: Callable[[str], None] = lambda trial_id: None
    keep_spare: Callable[[], None] = lambda: None
    spent_s: dict[int, float] = field(default_factory=dict)


@dataclass
class TrialFeed:
    """The suggestion of each of Tune's trials, and the epochs that it has reported."""

    handlers: Handlers
    rungs: Rungs
    suggestions: dict[str, Suggestion] = field(default_factory=dict)
    home: Path = Path()
    rows: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # the latest of each trial
    earlier_s: dict[int, float] = field(default_factory=dict)  # spent by trials before they were suggested the last time
    num_suggested: int = 0

    def checkpoints(self, suggestion: Suggestion) -> list[str]:
        """Return the paths of the checkpoints that an earlier driver wrote of the trial, the latest first."""
        name = suggestion.trial_id
        if not (self.home / name).exists():  # it never ran; the directory may have many trials and is not searched
            return []
        # Tune adds a suffix to the name of a directory that is there already
        found = [path for own in (name, f"{name}_*") for path in self.home.glob(f"{own}/checkpoint_*/{STATE}")]
        return [str(path.resolve()) for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for Tune to pickle: a sweep is restored from its ledger, and not by Tune."""
        return {}

    def suggest(self, tune_id: str) -> Suggestion | None:
        """Return the next suggestion, which this trial of Tune will run."""
        suggestion = self.handlers.next_suggestion()
        if suggestion is not None:
            self.suggestions[tune_id] = suggestion
            self.earlier_s[suggestion.number] = self.handlers.spent_s.get(suggestion.number, 0.0)
            self.num_suggested += 1
        return suggestion

    def report(self, tune_id: str, result: dict[str, Any]) -> None:
        """Add a trial's result: the epochs that it reports, and its seconds."""
        self.results[tune_id] = result
        suggestion, rows = self.suggestions[tune_id], result["rows"]
        self.handlers.spent_s[suggestion.number] = self.earlier_s[suggestion.number] + result["elapsed_s"]
        if rows:
            known = self.rows.setdefault(tune_id, [])
            known[:] = [row for row in known if row["epoch"] < rows[0]["epoch"]] + rows
            self.handlers.on_epoch(suggestion.trial_id, rows[-1])

    def cut(self) -> None:
        """Close the trials that were running or pending when the time had passed."""
        for tune_id in list(self.suggestions):
            self.close(tune_id, "")

    def close(self, tune_id: str, error: str) -> None:
        """Turn a trial's last result into its record; a trial that never ran has no `started_s`."""
        suggestion, result = self.suggestions.pop(tune_id), self.results.pop(tune_id, {})
        rows = self.rows.pop(tune_id, [])
        error = result.get("error", "") or error
        state: State = "failed" if error else "finished" if "measures" in result else "stopped"
        elapsed_s = self.earlier_s.pop(suggestion.number) + result.get("elapsed_s", 0.0)
        self.handlers.spent_s.pop(suggestion.number, None)
        if tune_id in self.paused and not error:
            state, self.handlers.spent_s[suggestion.number] = "paused", elapsed_s
        self.handlers.on_record(
            suggestion.record(
                state,
                measures=dict(result.get("measures", {})),
                candidates=tuple(Candidate(**one) for one in result.get("candidates", ())),
                curve=tuple(rows),
                error=error,
                started_s=result.get("started_s", time.time() if error else 0.0),
                elapsed_s=elapsed_s,
                step_s=sum(row["step_s"] for row in rows),
            )
        )
