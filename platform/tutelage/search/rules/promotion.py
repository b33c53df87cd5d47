"""Pause every student at every rung, and continue the one that is expected to improve the front most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from tutelage.measure import identity
from tutelage.objectives import even_losses, worst_end
from tutelage.plugins import PluginConfig
from tutelage.records.trial import OPEN, Suggestion, TrialRecord
from tutelage.search.promotion import LEAST_GAIN, Promotion, Student
from tutelage.search.rules import Decision, Judge, RuleContext

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """How many epochs are used."""

    share: float = Field(0.25, gt=0, le=1, description="share of the epochs that all students would take in full")


def build(config: Config, context: RuleContext) -> Judge:
    """Return the judge."""
    rule = Promotion(
        rungs=context.rungs, max_epochs=context.max_epochs, share=config.share, num_students=context.num_trials,
        worst=worst_end(context.objectives, context.primary),
        least_gain=0.0 if context.primary.scale is identity else LEAST_GAIN,
    )  # fmt: skip
    return PromotionJudge(rule, context)


class PromotionJudge:
    """Pauses trials at every rung, and promotes those that are expected to improve the front most."""

    pausing = True

    def __init__(self, rule: Promotion, context: RuleContext) -> None:
        self._rule, self._space, self._learned, self.rungs = rule, context.space, context.primary, frozenset(rule.rungs)
        self._known = context.known
        self._paused: dict[int, Suggestion] = {}

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial pauses; a trial whose size training decides never pauses."""
        student = self._student(suggestion)
        end = self._learned.even_loss(row[self._learned.name])
        pauses = student is not None and self._rule.pauses(suggestion.number, int(row["epoch"]), student, end)
        return "pause" if pauses else "continue"

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return the paused trial to promote now, if any."""
        key = self._rule.promoted(is_last=is_last)
        return None if key is None else self._paused.pop(key)

    def learn(self, record: TrialRecord) -> None:
        """Add a trial that is paused or has ended; one that failed, or that an earlier search stopped, is removed."""
        student = self._student(record)
        if record.state == "paused":
            self._paused[record.number] = record
            self._rule.paused(record.number)
        elif record.state == "finished" and student is not None:
            self._rule.finished(record.number, student, self._learned.even_loss(record.measures[self._learned.name]))
        else:
            self._rule.discarded(record.number)

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search; paused trials stay paused, and running ones are not promoted again."""
        for record in records:
            for row in record.rows_at(self.rungs):
                self.judge(record, row)
            if record.state in OPEN:
                self._rule.restored(record.number, is_paused=record.state == "paused")
            if record.state != "running":
                self.learn(record)

    def _student(self, suggestion: Suggestion) -> Student | None:
        if any(objective.name not in suggestion.sizes for objective in self._known):
            return None
        known, whole = (even_losses(sizes, self._known) for sizes in (suggestion.sizes, suggestion.sizes_at_rungs))
        return Student(known=known, whole=whole, traits=np.array(self._space.traits(suggestion.params)))
