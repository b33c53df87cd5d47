"""What happens in a sweep, as events; an observer is any function of one event.

def observer(event: Event) -> None:
    if isinstance(event, TrialEnded):
        print(event.record.trial_id, event.record.state)

tutelage.sweep(spec, observers=[observer])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tutelage.measure import Measure
from tutelage.records.trial import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, and when (seconds since 1970)."""

    unix_time_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class SweepStarted(Event):
    """The driver has started on a sweep, or resumed it; `num_trials` is None for a search that only time ends.

    `primary` is the measure of quality that the search learns.
    """

    sweep: str
    num_trials: int | None
    primary: Measure


@dataclass(frozen=True, kw_only=True)
class StageStarted(Event):
    """A stage has started, such as the teacher's training, or there is news of one; `text` describes it."""

    text: str


@dataclass(frozen=True, kw_only=True)
class KnowledgeReady(Event):
    """The teachers' knowledge is in the cache: views that were there, views computed now, and the bytes of all, at most.

    All are 0 where the teachers run during each student's training.
    """

    num_cached: int = 0
    num_computed: int = 0
    num_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class SuggestionEnded(Event):
    """The search for the next student to train has ended after `elapsed_s` seconds, with a student or without one."""

    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A trial was given a worker, for the first time or after a pause."""

    record: TrialRecord


@dataclass(frozen=True, kw_only=True)
class EpochEnded(Event):
    """A trial has trained an epoch; `row` has its number, losses, measures and times."""

    trial_id: str
    row: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrialRetried(Event):
    """A trial has lost its worker, and continues in another one."""

    trial_id: str


@dataclass(frozen=True, kw_only=True)
class TrialPaused(Event):
    """A trial has left its worker at a rung, or was there when the sweep was resumed; it may be continued."""

    record: TrialRecord


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial has ended, in whatever state; `labels` has for each of its candidates `front`, `dominated` or another state.

    `front_size` and `hypervolume` are those of the front with this trial. `is_replayed` marks a trial that had ended before
    the sweep was resumed.
    """

    record: TrialRecord
    labels: Mapping[str, str]
    front_size: int
    hypervolume: float
    is_replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class FrontChanged(Event):
    """The front has changed after `num_ended` ended trials: which names came to it and which are dominated now."""

    num_ended: int
    entered: frozenset[str]
    left: frozenset[str]
    size: int
    hypervolume: float


@dataclass(frozen=True, kw_only=True)
class SweepEnded(Event):
    """The driver has ended; `error` is the reason if the sweep has not finished."""

    sweep: str
    state: Literal["finished", "stopped", "failed"]
    error: str | None = None


Observer = Callable[[Event], None]


def ignored(event: Event) -> None:
    """Ignore an event: the observer where there is none."""
