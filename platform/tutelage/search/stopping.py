"""Early stopping of a sweep: its rungs, the rule that decides at each, and what the rule learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from tutelage import objectives as objectives_module
from tutelage.measure import Measure, standard_error_of
from tutelage.objectives import Objective
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.promotion import Promotion, Student
from tutelage.search.stopping_rules import Array, Dominance, Halving, Rule
from tutelage.spec.search_sections import StoppingConfig
from tutelage.spec.space import Space

Decision = Literal["go_on", "stop", "pause"]


def rule_of(config: StoppingConfig, learned: Measure, num_judged: int) -> Rule:
    """Return the rule that stops for good, by the measure `learned` over `num_judged` validation examples."""
    if config.rule == "mo-asha":
        return Halving(factor=config.factor)
    is_share = learned.spread == "share"
    is_bounded = learned.low is not None and learned.high is not None
    return Dominance(
        num_judged=num_judged if is_share else None, confidence=config.confidence,
        span=learned.high - learned.low if is_bounded else None,  # type: ignore[operator]
    )  # fmt: skip


def rungs_of(config: StoppingConfig, max_epochs: int) -> frozenset[int]:
    """Return the epochs after which trials are judged: from `first_epoch` on, each `factor` times the one before."""
    found, epochs = [], config.first_epoch
    while epochs < max_epochs:
        found.append(epochs)
        epochs *= config.factor
    return frozenset(found)


class Judge(Protocol):
    """Decides for a search whether a trial continues past a rung, and which paused trial is promoted."""

    rungs: frozenset[int]
    pausing: bool

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial continues, pauses or stops after the epoch of `row`, a rung."""
        ...

    def learn(self, record: TrialRecord) -> None:
        """Learn how a trial ended."""
        ...

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search."""
        ...

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return the paused trial to promote now, if any; `is_last`: there will be no new trials."""
        ...


class RuleJudge:
    """Stops trials for good, by a rule over the sweep's objectives.

    `learned` is the objective that training improves; all others are known before it, or a trial is not judged.
    """

    pausing = False

    def __init__(self, rule: Rule, rungs: frozenset[int], objectives: Sequence[Objective], learned: Measure) -> None:
        self._rule, self.rungs, self._learned = rule, rungs, learned
        self._known = [objective for objective in objectives if objective.name != learned.name]

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial continues; one whose size is unknown before training always does."""
        known = self._losses(suggestion.sizes)
        error = self._learned.error(row[self._learned.name])
        is_stopped = known is not None and self._rule.stops(int(row["epoch"]), known, error, self._variance(row))
        return "stop" if is_stopped else "go_on"

    def _variance(self, row: Mapping[str, Any]) -> float | None:
        """Return the sampling variance that an epoch's row has of the measure, if any."""
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
        """Let the rule learn from a trial that had all its epochs."""
        known = self._losses(record.measures)
        if record.state == "finished" and known is not None:
            name, error = self._learned.name, self._learned.error
            errors = {int(row["epoch"]): error(row[name]) for row in record.rows_at(self.rungs)}
            self._rule.finished(known, errors, error(record.measures[name]))

    def _losses(self, measures: Mapping[str, float]) -> Array | None:
        if any(objective.name not in measures for objective in self._known):
            return None
        row: Array = objectives_module.losses([measures], self._known)[0]
        return row


class BracketedJudge:
    """Several rules beside each other, each of which begins a rung later than the one before; a trial is judged by one of them.

    A late bracket lets what starts slowly get further (Li et al., 2018). Of R rungs, bracket b = 0, 1, … is drawn with a
    probability in proportion to (R + 1) / (R - b + 1) · `factor`^-b, Hyperband's shares; by a trial's number and `seed`, so
    that a resumed search draws the same.
    """

    pausing = False

    def __init__(self, brackets: Sequence[RuleJudge], *, factor: int, seed: int) -> None:
        self._brackets, self._seed = brackets, seed
        self.rungs = brackets[0].rungs
        shares = np.array([factor**-b / (len(self.rungs) - b + 1) for b in range(len(brackets))])
        self._shares = shares / shares.sum()

    def bracket_of(self, number: int) -> RuleJudge:
        """Return what judges a trial."""
        place = np.random.default_rng((self._seed, number)).choice(len(self._brackets), p=self._shares)
        return self._brackets[int(place)]

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial continues; one whose bracket has no such rung does."""
        bracket = self.bracket_of(suggestion.number)
        return bracket.judge(suggestion, row) if int(row["epoch"]) in bracket.rungs else "go_on"

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return None: a stopped trial is never continued."""
        return None

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search."""
        for record in records:
            self.bracket_of(record.number).resume([record])

    def learn(self, record: TrialRecord) -> None:
        """Let the trial's bracket learn how the trial ended."""
        self.bracket_of(record.number).learn(record)


class PromotionJudge:
    """Pauses trials at every rung, and promotes those that are expected to improve the front most."""

    pausing = True

    def __init__(self, rule: Promotion, objectives: Sequence[Objective], space: Space, learned: Measure) -> None:
        self._rule, self._space, self._learned, self.rungs = rule, space, learned, frozenset(rule.rungs)
        self._known = [objective for objective in objectives if objective.name != learned.name]
        self._paused: dict[int, Suggestion] = {}

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial pauses; one whose size training decides never does."""
        student = self._student(suggestion)
        end = self._learned.even_loss(row[self._learned.name])
        if student is None or not self._rule.pauses(suggestion.number, int(row["epoch"]), student, end):
            return "go_on"
        self._paused[suggestion.number] = suggestion
        return "pause"

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return the paused trial to promote now, if any."""
        key = self._rule.promoted(is_last=is_last)
        return None if key is None else self._paused.pop(key)

    def learn(self, record: TrialRecord) -> None:
        """Learn how a trial ended; one that failed, or was left over by an earlier search, is forgotten."""
        student = self._student(record)
        if record.state == "finished" and student is not None:
            self._rule.finished(record.number, student, self._learned.even_loss(record.measures[self._learned.name]))
        else:
            self._rule.given_up(record.number)

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search; paused trials stay paused."""
        for record in records:
            decisions = [self.judge(record, row) for row in record.rows_at(self.rungs)]
            if record.state != "paused":
                self._paused.pop(record.number, None)
                if record.state != "running":
                    self.learn(record)
            elif "pause" not in decisions[-1:]:  # it was paused, whatever the rule would decide now
                self._paused[record.number] = record

    def _student(self, suggestion: Suggestion) -> Student | None:
        if any(objective.name not in suggestion.sizes for objective in self._known):
            return None
        known, whole = (
            objectives_module.even_losses(sizes, self._known) for sizes in (suggestion.sizes, suggestion.sizes_at_rungs)
        )
        return Student(known=known, whole=whole, traits=np.array(self._space.traits(suggestion.params)))
