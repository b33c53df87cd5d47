"""The judge of a spec's stopping rule; one of a user's own is checked at every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.foreign import blamed
from tutelage.objectives import Objective
from tutelage.plugins import Reference
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.rules import Decision, Judge, RuleContext
from tutelage.spec.spec import Spec


def rule_context(
    spec: Spec, objectives: Sequence[Objective], *, max_epochs: int, num_validation: int
) -> RuleContext | None:  # fmt: skip
    """Return what a spec's stopping rule decides for; None without a rule, and where students are too short to have a rung."""
    stopping = spec.search.stopping
    rungs = stopping.rungs(max_epochs) if stopping else ()
    if stopping is None or not rungs:
        return None
    return RuleContext(
        rungs=rungs, max_epochs=max_epochs, factor=stopping.factor, objectives=objectives, primary=spec.primary,
        space=spec.space, num_trials=spec.search.trials, num_validation=num_validation, seed=spec.seed,
    )  # fmt: skip


def built(rule: Reference, context: RuleContext) -> Judge:
    """Return the judge of a rule. Raises `InputError` for a rule of the user's own that gives no judge."""
    name, plugin, config = plugins.configure("rules", rule)
    if ":" not in name:
        judge: Judge = plugin.build(config, context)
        return judge
    what = f"stopping rule '{name}'"
    with blamed(f"{what}: build"):
        own = plugin.build(config, context)
    lacking = [part for part in ("rungs", "pausing", "judge", "learn", "resume", "promoted") if not hasattr(own, part)]
    if lacking:
        raise InputError(
            f"{what}: build gives a {type(own).__name__} without {', '.join(lacking)}. Give a judge, or RuleJudge(…)."
        )
    return OwnJudge(own, what)


class OwnJudge:
    """A judge of a user's own; what it raises or returns wrongly is an `InputError` that names it."""

    def __init__(self, judge: Judge, what: str) -> None:
        self._judge, self._what = judge, what
        with blamed(f"{what}: its rungs"):
            self.rungs = frozenset(int(rung) for rung in judge.rungs)
        self.pausing = bool(judge.pausing)

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return the rule's decision on a trial at a rung."""
        with blamed(f"{self._what}: judge"):
            decision = self._judge.judge(suggestion, row)
        if decision not in get_args(Decision) or (decision == "pause" and not self.pausing):
            allowed = [one for one in get_args(Decision) if one != "pause" or self.pausing]
            raise InputError(f"{self._what}: judge gives {decision!r}; it must give {' or '.join(allowed)}.")
        return decision

    def learn(self, record: TrialRecord) -> None:
        """Let the rule learn from a trial."""
        with blamed(f"{self._what}: learn"):
            self._judge.learn(record)

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Let the rule learn from the records of a resumed search."""
        with blamed(f"{self._what}: resume"):
            self._judge.resume(records)

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return the paused trial that the rule promotes, if any."""
        with blamed(f"{self._what}: promoted"):
            found = self._judge.promoted(is_last=is_last)
        if found is not None and not isinstance(found, Suggestion):
            raise InputError(
                f"{self._what}: promoted gives {found!r:.80}; it must give the suggestion of a paused trial, or None."
            )
        return found
