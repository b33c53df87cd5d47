"""The sweep's records in the driver: ledger, front, events. Independent of Ray and Optuna."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tutelage.records.dispatcher import Dispatcher
from tutelage.records.live_front import LiveFront
from tutelage.records.observer import EpochEnded, SuggestionEnded, TrialPaused, TrialRetried, TrialStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, tables
from tutelage.report.front_card import front_card
from tutelage.storage import until_written

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Recorder(LiveFront):
    """Records every trial once: in the ledger, in the front, as an event for the observers, and for the sampler.

    The ledger is written first, because everything else can be rebuilt from it.
    """

    home: SweepDir
    teacher_address: str
    tracker: Tracker
    events: Dispatcher
    learn: Callable[[TrialRecord], None]
    teacher: dict[str, float]

    def started(self, record: TrialRecord) -> None:
        """Record that a trial starts, before it starts."""
        self._keep(record)
        self.events.send(TrialStarted(record=record))

    def _keep(self, record: TrialRecord) -> None:
        """Append to the ledger; wait while the storage cannot be written, so that no result is lost."""
        until_written(partial(self.home.ledger.append, record), self.events.stage)

    def epoch_ended(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """Send a trial's epoch as an event."""
        self.events.send(EpochEnded(trial_id=trial_id, row=row))

    def retried(self, trial_id: str) -> None:
        """Send as an event that a trial continues in another worker."""
        self.events.send(TrialRetried(trial_id=trial_id))

    def suggested(self, elapsed_s: float) -> None:
        """Send the seconds of a suggestion as an event."""
        self.events.send(SuggestionEnded(elapsed_s=elapsed_s))

    def returned(self, record: TrialRecord) -> None:
        """Record a trial that has left its worker: it has ended, or it is paused."""
        if record.state == "paused":
            self._keep(record)
            self.events.send(TrialPaused(record=record))
        else:
            self.finished(record)

    def finished(self, record: TrialRecord) -> None:
        """Record an ended trial that had a worker."""
        self.rejected(record)
        self.learn(record)

    def rejected(self, record: TrialRecord) -> None:
        """Record an ended trial that had no worker; the sampler has its result already."""
        self._keep(record)
        self._enter(record)

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Add the trials of a resumed sweep that have ended or are paused; the events of ended ones are marked as replayed.

        MLflow gets what it lacks of them.
        """
        for record in records:
            if record.state == "paused":
                self.events.send(TrialPaused(record=record))
            else:
                self._enter(record, is_replayed=True)

    def _enter(self, record: TrialRecord, *, is_replayed: bool = False) -> None:
        """Add the candidates of an ended trial to the front, and send the events."""
        for event in self.enter(record, is_replayed=is_replayed):
            self.events.send(event)

    def publish_if_any(self) -> None:
        """Publish the front of a sweep that is being stopped, if it has one; an error is only logged, so the stop continues."""
        if len(self.front):
            try:
                self.publish()
            except Exception:
                logger.exception("The front of the stopped sweep could not be written.")

    def publish(self) -> None:
        """Write the front as CSV, PNG and HTML, and attach them to the sweep's run."""
        records = self.home.records()
        shown = [r for r in records if self.labels.get(r.trial_id) in ("front", "dominated")]
        primary = self.home.primary()
        files: dict[str, bytes | str] = {
            "front.csv": tables.csv_of(tables.front_table(shown, self.objectives)),
            "front.png": figures.front_png(shown, self.objectives, self.teacher, primary),
            "front.html": figures.front_html(shown, self.objectives, self.teacher, primary),
        }
        for name, content in files.items():
            self.home.files.put(name, content)
        self.tracker.log_artifacts([self.home.files.local_path(name) for name in files])
        self.tracker.log_front(self.num_ended, self.hypervolume, len(self.front))
        self.tracker.set_note(front_card(self.home.name, tables.front_table(shown, self.objectives), self.home.measures()))
        self.tracker.flush()
        record_run_ids(self.home, self.tracker.run_ids)


def record_run_ids(home: SweepDir, run_ids: Mapping[str, str]) -> None:
    """Record the ids of MLflow's runs that are not recorded yet: MLflow assigns them, and may be unreachable later."""
    known = home.facts().get("run_ids", {})
    if new := {trial: run_id for trial, run_id in run_ids.items() if known.get(trial) != run_id}:
        home.update(run_ids=new)
