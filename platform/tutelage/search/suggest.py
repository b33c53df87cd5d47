"""What to train next: suggestions that fit the constraints and repeat nothing. Pure: it knows neither Ray nor MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage import objectives as objectives_module
from tutelage.errors import TutelageError
from tutelage.objectives import Limits, Objective
from tutelage.records.ledger import is_trained, trial_id
from tutelage.records.trial import State, TrialRecord
from tutelage.search.sampler import Draw, Sampler
from tutelage.search.size_aware import SizeAware

WHOLE = "whole_"  # before a size: what it is until a student loses its channels


MAX_REFUSALS = 100  # in a row; by then the space has nothing new, or nothing that fits


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A student to try before the sampler's own: searched values by name (the sampler draws the others), and where from."""

    params: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Who is asked about a suggestion, and who is told of it.

    `presize(config)` gives the sizes known before training (maybe none); `identify(config)` the content address of all that a
    training depends on; `recall(draw)` the record of an equal training of another sweep, if there is one. `on_begun` is told
    before a suggestion is handed out, `on_ended` of one that needs no training.
    """

    presize: Callable[[dict[str, Any]], dict[str, float]]
    on_begun: Callable[[TrialRecord], None]
    on_ended: Callable[[TrialRecord], None]
    identify: Callable[[dict[str, Any]], str] = lambda config: json.dumps(config, sort_keys=True)
    recall: Callable[[Draw], TrialRecord | None] = lambda draw: None


class Suggester:
    """Asks the sampler until a config is worth a worker, and tells it what became of each.

    A refused config costs no worker: one that misses a constraint is on record as infeasible, one that repeats an earlier one
    of the sweep is dropped, and one that another sweep has trained already is answered from that record.
    """

    def __init__(
        self, sampler: Sampler, objectives: Sequence[Objective], constraints: Limits, desk: Desk, num_trials: int | None,
        proposals: Sequence[Proposal] = (), rungs: frozenset[int] = frozenset(), chooser: SizeAware | None = None,
    ) -> None:  # fmt: skip
        self._chooser = chooser
        self._sampler, self._objectives, self._constraints, self._desk = sampler, objectives, constraints, desk
        self._num_trials, self._rungs = num_trials, rungs
        self._proposals, self._pending = list(proposals), list[Draw]()
        self._given: set[str] = set()
        self.num_given = 0
        self.exhausted = False

    def take_up(self, records: Sequence[TrialRecord]) -> None:
        """Go on from a sweep's records: what has ended is learnt, what has not is handed out again, first."""
        for record in sorted(records, key=lambda record: record.number):
            draw = draw_of(record)
            self._sampler.take_up(draw)
            self._begin(draw)
            self._given.add(self._desk.identify(record.config))
            self.num_given += is_trained(record)
            self._proposals = [one for one in self._proposals if not _holds(record.params, one.params)]
            if record.state == "running":
                self._pending.append(draw)
            elif record.state == "paused":
                self._observe_rungs(record)
            else:
                self.learn(record)

    def know(self, params: Mapping[str, Any], measures: Mapping[str, float]) -> None:
        """Learn from a student of another search, which this space could have given."""
        self._sampler.know(params, self._losses(measures))
        if self._chooser:
            end = objectives_module.log_error(measures["accuracy"])
            self._chooser.know(params, known_losses(measures, self._objectives), end)

    def next(self) -> Draw | None:
        """Return the next config to train; None when the sweep has had its trials, or nothing new is found."""
        if self._pending:
            return self._pending.pop(0)
        for _ in range(0 if self.exhausted else MAX_REFUSALS):
            if self._num_trials is not None and self.num_given >= self._num_trials:
                return None
            draw = self._wanted(self._asked())
            if draw is not None:
                self.num_given += 1
                self._desk.on_begun(record_of(draw, "running"))
                return draw
        self.exhausted = True
        return None

    def _begin(self, draw: Draw) -> None:
        if self._chooser:
            self._chooser.begun(draw.number, draw.params, known_losses(draw.sizes, self._objectives))

    def _asked(self) -> Draw:
        if not self._proposals:
            chosen = self._chooser.propose(self._sampler.next_number) if self._chooser else None
            return self._sampler.ask(chosen)
        proposal = self._proposals.pop(0)
        return self._sampler.ask(proposal.params, proposal.origin)

    def _wanted(self, draw: Draw) -> Draw | None:
        """Return the suggestion with its identity and the sizes that it will have; None if it needs no training."""
        draw = replace(draw, identity=self._desk.identify(draw.config))
        if draw.identity in self._given:
            self._sampler.tell_failed(draw.number)
            return None
        self._given.add(draw.identity)
        try:
            draw = replace(draw, sizes=self._desk.presize(draw.config))
        except TutelageError as error:
            self._end(record_of(draw, "failed", error=str(error)))
            return None
        if missed := self._constraints.describe_missed(draw.sizes):
            why = f"refused before training: {missed}; asked for {self._constraints.describe()}"
            sizes = {name: value for name, value in draw.sizes.items() if not name.startswith(WHOLE)}
            self._end(record_of(draw, "infeasible", measures=sizes, error=why))
            return None
        self._begin(draw)
        recalled = self._desk.recall(draw)
        if recalled is not None:
            self.num_given += 1
            self._end(recalled)
            return None
        return draw

    def _end(self, record: TrialRecord) -> None:
        self.learn(record)
        self._desk.on_ended(record)

    def observe(self, draw: Draw, row: Mapping[str, Any]) -> None:
        """Tell the sampler what a student is after the epoch of `row`, a rung, by the sizes that it has there."""
        measures = {**as_it_is_whole(draw.sizes), "accuracy": row["accuracy"]}
        if all(objective.name in measures for objective in self._objectives):
            self._sampler.observe(draw.number, int(row["epoch"]), self._losses(measures))

    def learn(self, record: TrialRecord) -> None:
        """Tell the sampler what became of a suggestion, and before that what it was at its rungs."""
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
            self._chooser.finished(record.number, objectives_module.log_error(record.measures["accuracy"]))
        else:
            self._chooser.given_up(record.number)

    def _observe_rungs(self, record: TrialRecord) -> None:
        for row in record.rows_at(self._rungs):
            self.observe(draw_of(record), row)

    def _losses(self, measures: Mapping[str, float]) -> list[float]:
        found: list[float] = objectives_module.even_losses(measures, self._objectives).tolist()
        return found


def _holds(params: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(params.get(name) == value for name, value in wanted.items() if name in params)


def known_losses(sizes: Mapping[str, float], objectives: Sequence[Objective]) -> NDArray[np.float64] | None:
    """Return a student's losses other than its error, on even scales, as its sizes before training say; None if they do not."""
    others = [objective for objective in objectives if objective.name != "accuracy"]
    if any(objective.name not in sizes for objective in others):
        return None
    return objectives_module.even_losses(sizes, others)


def as_it_is_whole(sizes: Mapping[str, float]) -> dict[str, float]:
    """Return the sizes of a student that has not lost its channels yet: those under `WHOLE` and their names, where given."""
    return {name: sizes.get(WHOLE + name, value) for name, value in sizes.items()}


def draw_of(record: TrialRecord) -> Draw:
    """Return the suggestion that a record is of."""
    return Draw(
        number=record.number, config=record.config, params=dict(record.params), identity=record.identity,
        origin=record.origin, notes=record.notes, sizes=record.sizes,
    )  # fmt: skip


def record_of(draw: Draw, state: State, **about: Any) -> TrialRecord:
    """Return the record of a suggestion in a state; `about` holds what else is known of it."""
    return TrialRecord(
        number=draw.number, trial_id=trial_id(draw.number), state=state, params=draw.params, config=draw.config,
        identity=draw.identity, origin=draw.origin, notes=draw.notes, sizes=draw.sizes, **{"measures": {}, **about},
    )  # fmt: skip
