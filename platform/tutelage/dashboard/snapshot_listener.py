"""The observer that keeps a sweep's snapshot in MLflow up to date while the sweep runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from tutelage.dashboard.header import header
from tutelage.dashboard.rows import Rows, finite
from tutelage.dashboard.snapshot import Policies, assembled, packed, snapshot_of
from tutelage.records.mlflow_writer import Snapshot
from tutelage.records.observer import EpochEnded, Event, FrontChanged, SweepEnded, TrialEnded, TrialPaused, TrialStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker

GAP_S = 5.0  # between two snapshots of a running sweep
SHARE = 0.02  # of the seconds that making snapshots may take


MOST_WAITING = 100  # entries that wait for MLflow, above which no snapshot is added to them


def log_from_ledger(home: SweepDir, tracker: Tracker, policies: Policies | None = None) -> None:
    """Attach the snapshot of a sweep that no search changes now, made from its ledger."""
    tracker.log_snapshot(partial(_from_ledger, home, tracker, policies))


def _from_ledger(home: SweepDir, tracker: Tracker, policies: Policies | None) -> Snapshot:
    document = snapshot_of(home, policies, tracker.run_ids)
    return Snapshot(packed(document), document["n"])


class SnapshotListener:
    """Adds each ended trial to the rows at once; the document is made in the thread that writes to MLflow.

    A snapshot takes a quarter of a second for 10,000 candidates; the more it takes, the fewer are made.
    """

    def __init__(self, home: SweepDir, tracker: Tracker, policies: Policies | None = None) -> None:
        self._home, self._tracker, self._policies = home, tracker, policies
        self._head, self._measures = header(home), home.measures()
        self._rows = Rows(list(self._head["config"]))
        self._running: dict[int, dict[str, Any]] = {}
        self._last_s, self._took_s = time.monotonic(), 0.0
        self._is_stale = True

    def __call__(self, event: Event) -> None:
        """Take an event in, and put a snapshot on the tracker's spool where one is due."""
        match event:
            case TrialStarted():
                self._runs(event.record.number, event.record.trial_id)
            case EpochEnded():
                self._runs(int(event.trial_id.removeprefix("t").partition(".")[0]), event.trial_id, event.row)
            case TrialPaused():
                self._rests(event.record.number)
            case TrialEnded():
                self._rows.add(event.record, event.labels)
                self._rests(event.record.number)
            case FrontChanged():
                self._rows.leave_front(event.left)
                self._is_stale = True
            case SweepEnded():
                log_from_ledger(self._home, self._tracker, self._policies)
                return
        if self._is_due():
            self._last_s, self._is_stale = time.monotonic(), False
            self._tracker.log_snapshot(self._make)

    def _runs(self, number: int, name: str, row: Mapping[str, Any] | None = None) -> None:
        value = row.get(self._head["sweep"]["primary"]) if row else None
        epoch = int(row["epoch"]) if row else None
        self._running = {**self._running, number: {"trial": number, "id": name, "epoch": epoch, "value": finite(value)}}
        self._is_stale = True

    def _rests(self, number: int) -> None:
        """Take a trial off those that train; another thread may be reading them, so they are never changed in place."""
        self._running = {other: one for other, one in self._running.items() if other != number}
        self._is_stale = True

    def _is_due(self) -> bool:
        gap_s = max(GAP_S, self._took_s / SHARE)
        is_over = time.monotonic() - self._last_s >= gap_s
        return self._is_stale and is_over and self._tracker.num_waiting <= MOST_WAITING

    def _make(self) -> Snapshot:
        started_s = time.thread_time()
        head = {**self._head, "sweep": {**self._head["sweep"], "running": list(self._running.values())}}
        document = assembled(head, self._rows.document(self._tracker.run_ids), self._measures)
        made = Snapshot(packed(document), document["n"])
        self._took_s = time.thread_time() - started_s
        return made
