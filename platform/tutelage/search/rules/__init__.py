"""Stopping rules: they decide at rungs, the epochs after which trials are compared, which trials continue.

One file a rule. `build(config, context)` returns a `Judge` for one search. A rule that stops trials for good is a `Rule`, which
compares arrays; `RuleJudge` makes a judge of it. Rules get numbers, and depend on neither Ray nor the ledger. A judge keeps its
state in memory; a resumed search passes it the records of the ledger.

A student's sizes are known before it is trained, its quality is not. So at a rung a student is compared by its known losses,
lower is better, and by its error: the distance of its primary measure from the best value (1 minus a share; an error rate
itself). A stopped trial never enters the front, and a student whose sizes violate a constraint is never trained, so a rule need
not check constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tutelage.measure import Measure, standard_error_of
from tutelage.objectives import Objective, losses
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.gaussian_process import Array
from tutelage.spec.space import Space

Decision = Literal["continue", "stop", "pause"]


@dataclass(frozen=True, kw_only=True)
class RuleContext:
    """The search that a rule decides for.

    Training improves the task's `primary` measure; all other objectives are known before training.
    """

    rungs: tuple[int, ...]  # epochs, ascending, below `max_epochs`
    max_epochs: int
    factor: int  # ratio of a rung's epochs to those of the rung before
    objectives: Sequence[Objective]
    primary: Measure
    space: Space
    num_trials: int | None  # None where only time limits the search
    num_validation: int  # examples that the primary measure is measured on
    seed: int

    @property
    def known(self) -> list[Objective]:
        """The objectives that are known before training."""
        return [objective for objective in self.objectives if objective.name != self.primary.name]


class Judge(Protocol):
    """Decides for a search whether a trial continues past a rung, and which paused trial is promoted."""

    rungs: frozenset[int]
    pausing: bool  # whether trials may pause, so that their state is written at every rung

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial continues, pauses or stops after the epoch of `row`, a rung."""
        ...

    def learn(self, record: TrialRecord) -> None:
        """Add a trial that is paused and has left its worker, or that has ended."""
        ...

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search."""
        ...

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return the paused trial to promote now, if any; `is_last`: there will be no new trials."""
        ...


class Rule(Protocol):
    """Gets every student that reaches a rung, in the order in which they reach it, and every finished student."""

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        """Return whether a student with these losses `[known]` and this error stops at the rung.

        `variance` is the error's sampling variance over the validation examples, where it was estimated.
        """
        ...

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Add a student that had all its epochs: its errors at the rungs, and its last error."""
        ...


class RuleJudge:
    """The judge of a rule that stops trials for good, at the context's rungs, or at `rungs` of them."""

    pausing = False

    def __init__(self, rule: Rule, context: RuleContext, rungs: Sequence[int] | None = None) -> None:
        self._rule, self._learned, self._known = rule, context.primary, context.known
        self.rungs = frozenset(context.rungs if rungs is None else rungs)

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial continues; a trial whose size is unknown before training always continues."""
        known = self._losses(suggestion.sizes)
        error = self._learned.error(row[self._learned.name])
        is_stopped = known is not None and self._rule.stops(int(row["epoch"]), known, error, self._variance(row))
        return "stop" if is_stopped else "continue"

    def _variance(self, row: Mapping[str, Any]) -> float | None:
        """Return the measure's sampling variance in an epoch's row, if the row has it."""
        deviation = row.get(standard_error_of(self._learned))
        return None if deviation is None else float(deviation) ** 2

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return None: a stopped trial is never continued."""
        return None

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search."""
        for record in records:
            for row in record.rows_at(self.rungs):
                self.judge(record, row)
            self.learn(record)

    def learn(self, record: TrialRecord) -> None:
        """Pass a trial that had all its epochs to the rule."""
        known = self._losses(record.measures)
        if record.state == "finished" and known is not None:
            name, error = self._learned.name, self._learned.error
            errors = {int(row["epoch"]): error(row[name]) for row in record.rows_at(self.rungs)}
            self._rule.finished(known, errors, error(record.measures[name]))

    def _losses(self, measures: Mapping[str, float]) -> Array | None:
        if any(objective.name not in measures for objective in self._known):
            return None
        row: Array = losses([measures], self._known)[0]
        return row
