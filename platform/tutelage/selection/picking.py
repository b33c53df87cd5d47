"""The student that a policy picks, with estimates from fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tutelage.measure import Measure
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.trial import TrialRecord
from tutelage.selection.confirmation import Confirmation
from tutelage.selection.estimate import Estimate, FreshValues
from tutelage.selection.query import SelectionQuery
from tutelage.selection.retrain import Retraining


@dataclass(frozen=True, kw_only=True)
class Picked:
    """The picked student, the runner-up, the reason, and the estimates from fresh seeds of the student and its rivals.

    `query` has the estimates of the primary measure that the pick used.
    """

    record: TrialRecord
    runner_up: TrialRecord | None
    query: SelectionQuery
    reason: str
    rivals: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Picker:
    """Picks by a query's policy. Students that it might pick are trained again first, at most `rivals` of them."""

    query: SelectionQuery
    retraining: Retraining
    rivals: int
    events: Dispatcher

    def pick(self, records: Sequence[TrialRecord]) -> Picked:
        """Return the pick of `records`; `NoStudentFits` if none meets the query's limits."""
        query, race, by_trial = self.query, self._race(records), {record.trial_id: record for record in records}

        def train(trials: Sequence[str]) -> FreshValues:
            self.events.stage(f"training {', '.join(trials)} with {seeds_text(self.retraining.num_seeds)}")
            return self.retraining.distilled([by_trial[trial] for trial in trials])

        fresh: FreshValues = {}
        if self.retraining.num_seeds:
            known = {trial: runs for trial, runs in self.retraining.confirmed().items() if trial in by_trial}
            fresh = race.run(known, train, most=self.rivals)
            query = replace(query, quality=_quality(query.primary, self.retraining.num_seeds))
        estimated = replace(query, estimates=race.cautious(fresh).estimates) if fresh else query
        found = estimated.select(records, among=fresh or None)
        shown = {found.record.trial_id, *(record.trial_id for record in query.fitting(records))}
        return Picked(
            record=found.record, runner_up=found.runner_up, query=estimated, reason=found.reason,
            rivals={trial: one for trial, one in race.estimates(fresh).items() if trial in shown},
        )  # fmt: skip

    def instead(self, picked: Picked, record: TrialRecord, records: Sequence[TrialRecord], reason: str) -> Picked:
        """Return the pick with another of `records` in its place, which is also trained with the fresh seeds."""
        if record.trial_id == picked.record.trial_id:
            return picked
        rivals = dict(picked.rivals)
        if self.retraining.num_seeds:
            fresh = {**self.retraining.confirmed(), **self.retraining.distilled([record])}
            rivals[record.trial_id] = self._race([*records, record]).estimates(fresh)[record.trial_id]
        return replace(picked, record=record, runner_up=picked.record, reason=f"{picked.reason} {reason}", rivals=rivals)

    def _race(self, records: Sequence[TrialRecord]) -> Confirmation:
        return Confirmation(
            query=self.query, records=records, num_judged=len(self.retraining.context.splits["validation"]),
            seeds=self.retraining.num_seeds, seed=self.retraining.context.seed,
        )  # fmt: skip


def seeds_text(count: int) -> str:
    """Return a number of fresh seeds as text."""
    return f"{count} fresh {'seed' if count == 1 else 'seeds'}"


def _quality(primary: Measure, count: int) -> str:
    """Return the name of the value of the primary measure that a choice uses."""
    if count == 1:
        return f"{primary.label} with 1 fresh seed"
    side = "lower" if primary.direction == "maximise" else "upper"
    return f"{side} 95 % confidence bound of {primary.label} over {count} fresh seeds,"
