"""The observer that writes a sweep's trials and front to MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.records.observer import Event, FrontChanged, SweepEnded, TrialEnded
from tutelage.records.tracker import Tracker

STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}  # of the sweep's run in MLflow, by its end's state


@dataclass(frozen=True, kw_only=True)
class MlflowListener:
    """Hands events to the tracker, which puts them on its spool and returns; `common` are params of every trial's run."""

    tracker: Tracker
    searched: Sequence[str]
    common: Mapping[str, str]

    def __call__(self, event: Event) -> None:
        match event:
            case TrialEnded():
                for one in event.record.per_candidate():
                    self.tracker.log_trial(one, event.labels[one.trial_id], self.searched, self.common)
            case FrontChanged():
                self.tracker.set_labels(dict.fromkeys(sorted(event.left), "dominated"))
                self.tracker.log_front(event.num_ended, event.hypervolume, event.size)
            case SweepEnded():
                self.tracker.finish(STATUS[event.state])
