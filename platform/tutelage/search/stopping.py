"""Early stopping as a sweep has it: where its rungs are, what a rule is asked, and what it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage import objectives as objectives_module
from tutelage.objectives import Objective
from tutelage.record import TrialRecord
from tutelage.search.rungs import Array, Dominance, Halving, Rule
from tutelage.search.sampler import Draw
from tutelage.spec_sections import StoppingConfig

LEARNED = "accuracy"  # the objective that grows with training; all others are known before it, or the trial is not judged


def rule_of(config: StoppingConfig, num_judged: int) -> Rule:
    """Return the rule that the spec names, for accuracies over `num_judged` validation examples."""
    if config.rule == "mo-asha":
        return Halving(factor=config.factor)
    return Dominance(num_judged=num_judged, confidence=config.confidence)


def rungs_of(config: StoppingConfig, max_epochs: int) -> frozenset[int]:
    """Return the epochs after which trials are judged: from `first_epoch` on, each `factor` times the one before."""
    found, epochs = [], config.first_epoch
    while epochs < max_epochs:
        found.append(epochs)
        epochs *= config.factor
    return frozenset(found)


class Stopping:
    """Asks the rule about trials at rungs, in the sweep's objectives, and tells it of finished ones."""

    def __init__(self, rule: Rule, rungs: frozenset[int], objectives: Sequence[Objective]) -> None:
        self._rule, self.rungs = rule, rungs
        self._known = [objective for objective in objectives if objective.name != LEARNED]

    def is_worth(self, draw: Draw, row: Mapping[str, Any]) -> bool:
        """Return whether a trial goes on after the epoch of `row`; one whose size training decides always does."""
        known = self._losses(draw.sizes)
        return known is None or not self._rule.stops(int(row["epoch"]), known, 1 - row[LEARNED])

    def take_up(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a search that is taken up."""
        for record in records:
            known = self._losses(record.sizes)
            for row in record.curve:
                if known is not None and row["epoch"] in self.rungs:
                    self._rule.stops(int(row["epoch"]), known, 1 - row[LEARNED])
            self.learn(record)

    def learn(self, record: TrialRecord) -> None:
        """Tell the rule what became of a trial that had all its epochs."""
        known = self._losses(record.measures)
        if record.state == "finished" and known is not None:
            errors = {int(row["epoch"]): 1 - row[LEARNED] for row in record.curve if row["epoch"] in self.rungs}
            self._rule.finished(known, errors, 1 - record.measures[LEARNED])

    def _losses(self, measures: Mapping[str, float]) -> Array | None:
        if any(objective.name not in measures for objective in self._known):
            return None
        row: Array = objectives_module.losses([measures], self._known)[0]
        return row
