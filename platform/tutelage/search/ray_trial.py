"""A trial in a Ray Tune actor: started, stepped, checkpointed, reused."""

from __future__ import annotations

import math
import pickle
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from tutelage.records.trial import WorkersLost
from tutelage.search.gate import Gate
from tutelage.search.trial_feed import STATE

REPORT_INTERVAL_S = 2.0  # an actor reports its epochs this often, at a rung, and at the end of the trial


class RunningTrial(Protocol):
    """A trial in its actor; `curve` has all rows.

    `step` gives one epoch's row with `done`, and with the last `measures` and, where there are several, `candidates`.
    """

    curve: list[dict[str, float]]

    def step(self) -> dict[str, Any]: ...
    def save(self, path: Path) -> None: ...
    def restore(self, path: Path) -> None: ...
    def close(self) -> None: ...


StartTrial = Callable[[str, dict[str, Any]], RunningTrial]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class StudentTrainable(tune.Trainable):
    """Runs students one after the other in one actor. An exception in a student's training ends the trial, not the actor."""

    def setup(
        self, config: dict[str, Any], open_trial: StartTrial | None = None, gate: Gate | None = None,
        rungs: frozenset[int] = frozenset(), pausing: bool = False, checkpoint_epochs: int = 0,
    ) -> None:  # fmt: skip
        """Keep the function that opens trials; a trial is opened at its first step."""
        assert open_trial is not None and gate is not None
        self._rungs, self._checkpoint_epochs = rungs, checkpoint_epochs
        self._kept_at = rungs if pausing else frozenset()
        resources = self.trial_resources
        assert resources is not None
        torch.set_num_threads(max(1, int(resources.required_resources.get("CPU", 1))))
        self._open_trial = open_trial
        self._opened: RunningTrial | None = None
        gate.pass_through()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare for the next trial in this warm actor."""
        self.cleanup()
        self._suggestion: dict[str, Any] = new_config
        self._resumed_rows: list[dict[str, Any]] = []  # rows of a resumed trial, which the driver may not have
        self._started_s, self._begun_s = time.time(), time.monotonic()  # for people, and for durations
        return True

    def cleanup(self) -> None:
        """Close the trial, which may have workers of its own."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def step(self) -> dict[str, Any]:
        """Run epochs until a report is due, and return them as `rows`; a failure is a result with `error`, its traceback."""
        begun_s = time.monotonic()
        rows: list[dict[str, Any]] = []
        while True:
            row = self._epoch()
            is_resumed = bool(
                self._resumed_rows
            )  # reported at once, so that the driver counts the progress after a worker's death
            rows, self._resumed_rows = self._resumed_rows or rows, []
            rows = row.pop("curve", [*rows, row] if "epoch" in row else rows)  # the last epoch has the whole curve
            is_due = self._is_checkpoint(row)
            if (
                row["done"]
                or is_due
                or is_resumed
                or row["epoch"] in self._rungs
                or time.monotonic() - begun_s > REPORT_INTERVAL_S
            ):
                break
        kept = [{key: value for key, value in one.items() if _is_number(value)} for one in rows]
        about = {"rows": kept, "started_s": self._started_s, "elapsed_s": time.monotonic() - self._begun_s}
        return {**row, **about, SHOULD_CHECKPOINT: is_due}

    def _epoch(self) -> dict[str, Any]:
        try:
            row = self._ready().step()
            for measures in (row.get("measures", {}), *(one["measures"] for one in row.get("candidates", ()))):
                if not all(map(math.isfinite, measures.values())):
                    raise ArithmeticError(f"a measure is not finite: {measures}")
        except WorkersLost:
            raise
        except Exception:  # any error of a student's code ends the trial as failed, with its traceback on record
            return {"error": traceback.format_exc(), "done": True}
        return row

    def _is_checkpoint(self, row: dict[str, Any]) -> bool:
        if row["done"]:
            return False
        return row["epoch"] in self._kept_at or (self._checkpoint_epochs > 0 and row["epoch"] % self._checkpoint_epochs == 0)

    def _ready(self) -> RunningTrial:
        if self._opened is None:
            self._opened = self._open_trial(self._suggestion["trial_id"], self._suggestion["config"])
            for path in map(Path, self._suggestion.get("checkpoints", ())):
                if self._resumes_from(path):
                    break
        return self._opened

    def _resumes_from(self, path: Path) -> bool:
        """Return whether the trial could be restored from a checkpoint; a damaged one is skipped."""
        assert self._opened is not None
        try:
            self._opened.restore(path)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError):
            self._opened.close()
            self._opened = self._open_trial(self._suggestion["trial_id"], self._suggestion["config"])
            return False
        self._resumed_rows = list(self._opened.curve)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the trial's whole state."""
        self._ready().save(Path(checkpoint_dir) / STATE)

    def load_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]
        """Restore the trial from what `save_checkpoint` saved."""
        self._ready().restore(Path(checkpoint_dir) / STATE)
        self._resumed_rows = list(self._ready().curve)
