"""The next student to train: a suggestion that meets the constraints and repeats no earlier one. No Ray, no MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage import objectives as objectives_module
from tutelage.errors import InputError, TutelageError
from tutelage.measure import Measure
from tutelage.objectives import Limits, Objective
from tutelage.records.ledger import is_trained
from tutelage.records.trial import Sizes, Suggestion, TrialRecord
from tutelage.search.sampler import Sampler
from tutelage.search.samplers import Chooser

MAX_REJECTIONS = 100  # consecutive rejected suggestions, after which the space counts as exhausted


@dataclass(frozen=True, kw_only=True)
class SeededSuggestion:
    """A student to try before those of the sampler: searched values by name, the others by the sampler, and its origin."""

    params: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What a suggester calls about a suggestion.

    `presize(config)` returns the sizes known before training; `identify(config)` the content address of everything that a
    training depends on; `recall(suggestion)` the record of an identical training of another sweep, if there is one.
    `on_started` is called before a suggestion is returned, `on_ended` with the record of one that needs no training.
    """

    presize: Callable[[dict[str, Any]], Sizes]
    on_started: Callable[[TrialRecord], None]
    on_ended: Callable[[TrialRecord], None]
    identify: Callable[[dict[str, Any]], str] = lambda config: json.dumps(config, sort_keys=True)
    recall: Callable[[Suggestion], TrialRecord | None] = lambda suggestion: None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The goal of a search: its objectives, the limits that a student must meet, and the measure that training improves."""

    objectives: Sequence[Objective]
    limits: Limits
    learned: Measure


class Suggester:
    """Suggests students: queries the sampler until a suggestion needs training, and passes every result back to the sampler.

    A rejected suggestion needs no worker: one that violates a constraint is recorded as infeasible, one that repeats an earlier
    suggestion of the sweep is dropped, and one that another sweep has trained already gets the record of that training.
    """

    def __init__(
        self, sampler: Sampler, goal: Goal, callbacks: Callbacks, num_trials: int | None, *,
        seeded: Sequence[SeededSuggestion] = (), chooser: Chooser | None = None,
    ) -> None:  # fmt: skip
        self._sampler, self._callbacks, self._chooser, self._num_trials = sampler, callbacks, chooser, num_trials
        self._objectives, self._constraints, self._learned = goal.objectives, goal.limits, goal.learned
        self._seeded, self._pending = list(seeded), list[Suggestion]()
        self._identities: set[str] = set()
        self.num_accepted = 0
        self.exhausted = False

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Resume from a sweep's records: learn from trials that ended, and suggest first those that did not."""
        for record in sorted(records, key=lambda record: record.number):
            self._sampler.resume(record)
            self._begin(record)
            self._identities.add(self._callbacks.identify(record.config))
            self.num_accepted += is_trained(record)
            self._seeded = [one for one in self._seeded if not _holds(record.params, one.params)]
            if record.state == "running":
                self._pending.append(record)
            elif record.state == "paused":
                self._observe_rungs(record)
            else:
                self.learn(record)

    def add_finished(self, params: Mapping[str, Any], measures: Mapping[str, float]) -> None:
        """Learn from a student of another search that lies in this search space."""
        self._sampler.add_finished(params, self._losses(measures))
        if self._chooser:
            self._chooser.add_finished(params, self._sizes(measures), self._end_of(measures))

    def next(self) -> Suggestion | None:
        """Return the next student to train; None if the sweep has all its trials, or if no new student is found."""
        if self._pending:
            return self._pending.pop(0)
        for _ in range(0 if self.exhausted else MAX_REJECTIONS):
            if self._num_trials is not None and self.num_accepted >= self._num_trials:
                return None
            suggestion = self._accepted(self._suggested())
            if suggestion is not None:
                self.num_accepted += 1
                self._callbacks.on_started(suggestion.record("running"))
                return suggestion
        self.exhausted = True
        return None

    def _begin(self, suggestion: Suggestion) -> None:
        if self._chooser:
            self._chooser.started(suggestion.number, suggestion.params, self._sizes(suggestion.sizes))

    def _suggested(self) -> Suggestion:
        if not self._seeded:
            chosen = self._chooser.suggest(self._sampler.next_number) if self._chooser else None
            return self._sampler.ask(chosen)
        seed_suggestion = self._seeded.pop(0)
        return self._sampler.ask(seed_suggestion.params, seed_suggestion.origin)

    def _accepted(self, suggestion: Suggestion) -> Suggestion | None:
        """Return the suggestion with its identity and its sizes after training; None if it needs no training."""
        suggestion = replace(suggestion, identity=self._callbacks.identify(suggestion.config))
        if suggestion.identity in self._identities:
            self._sampler.tell_failed(suggestion.number)
            return None
        self._identities.add(suggestion.identity)
        try:
            sizes = self._callbacks.presize(suggestion.config)
        except InputError as error:  # these values make no network
            self._end(suggestion.record("infeasible", error=str(error)))
            return None
        except TutelageError as error:
            self._end(suggestion.record("failed", error=str(error)))
            return None
        suggestion = replace(suggestion, sizes=sizes.final, initial_sizes=sizes.initial)
        if missed := self._constraints.describe_missed(suggestion.sizes):
            why = f"rejected before training: {missed}; the constraints are {self._constraints.describe()}"
            self._end(suggestion.record("infeasible", measures=suggestion.sizes, error=why))
            return None
        self._begin(suggestion)
        recalled = self._callbacks.recall(suggestion)
        if recalled is not None:
            self.num_accepted += 1
            self._end(recalled)
            return None
        return suggestion

    def _end(self, record: TrialRecord) -> None:
        self.learn(record)
        self._callbacks.on_ended(record)

    def observe(self, suggestion: Suggestion, row: Mapping[str, Any]) -> None:
        """Pass the losses of a student at a rung, the epoch of `row`, to the sampler, with the sizes that it has there."""
        measures = {**suggestion.sizes_at_rungs, self._learned.name: row[self._learned.name]}
        if all(objective.name in measures for objective in self._objectives):
            self._sampler.observe(suggestion.number, int(row["epoch"]), self._losses(measures))

    def learn(self, record: TrialRecord) -> None:
        """Pass the results of a trial to the sampler: first those at its rungs, then how it ended."""
        self._observe_rungs(record)
        if self._chooser:
            self._tell_chooser(record)
        if record.state == "finished":
            self._sampler.tell_finished(
                record.number, self._losses(record.measures), self._constraints.violations(record.measures)
            )
        elif record.state == "stopped":
            self._sampler.tell_stopped(record.number)
        elif record.state == "infeasible":
            self._sampler.tell_infeasible(record.number, self._constraints.violations(record.measures))
        else:
            self._sampler.tell_failed(record.number)

    def _tell_chooser(self, record: TrialRecord) -> None:
        assert self._chooser is not None
        if record.state == "finished":
            self._chooser.finished(record.number, self._end_of(record.measures))
        else:
            self._chooser.discarded(record.number)

    def _observe_rungs(self, record: TrialRecord) -> None:
        for row in record.rows_at(self._sampler.rungs):
            self.observe(record, row)

    def _sizes(self, measures: Mapping[str, float]) -> NDArray[np.float64] | None:
        return size_losses(measures, self._objectives, self._learned)

    def _end_of(self, measures: Mapping[str, float]) -> float:
        return self._learned.even_loss(measures[self._learned.name])

    def _losses(self, measures: Mapping[str, float]) -> list[float]:
        found: list[float] = objectives_module.even_losses(measures, self._objectives).tolist()
        return found


def _holds(params: Mapping[str, Any], seeded: Mapping[str, Any]) -> bool:
    return all(params.get(name) == value for name, value in seeded.items() if name in params)


def size_losses(
    sizes: Mapping[str, float], objectives: Sequence[Objective], learned: Measure
) -> NDArray[np.float64] | None:  # fmt: skip
    """Return a student's even losses except that of `learned`, from its sizes before training; None if one is unknown."""
    others = [objective for objective in objectives if objective.name != learned.name]
    if any(objective.name not in sizes for objective in others):
        return None
    return objectives_module.even_losses(sizes, others)
