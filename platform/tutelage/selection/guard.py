"""The guard of a sweep: tests of the policy's choice on the half of validation that nothing else has used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tutelage.data import Examples
from tutelage.errors import InputError, NoStudentFits
from tutelage.intervals import Contributions
from tutelage.measure import Measure
from tutelage.networks import runtime
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.fronts import candidates, front_of
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.selection.certification import (
    BOOTSTRAP,
    EXACT,
    by_evidence,
    confidence_of,
    fixed_sequence,
    guarantee_text,
    why_none,
)
from tutelage.selection.picking import Picked, Picker
from tutelage.spec.guard import GuardConfig
from tutelage.training import inference
from tutelage.training.context import TrainingContext

TEACHER = "teacher"  # the only reference that is not a trial


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Candidates, named by trials, in the order of their tests against a reference; `description` describes the reference."""

    reference: str
    description: str
    trials: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the values that identify the chain."""
        return {"reference": self.reference, "trials": list(self.trials)}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Certifies the choices of a sweep with a `guard`; `again` allows a further evaluation of the certification half."""

    home: SweepDir
    context: TrainingContext
    config: GuardConfig
    again: bool
    events: Dispatcher

    def pick(self, picker: Picker) -> tuple[Picked, dict[str, Any]]:
        """Return the pick, certified, and the guard's document; `NoStudentFits` if no certified student meets the limits.

        Against the dense student, the policy picks the trial, and the guard takes the last of its candidates that passes and
        meets the limits. Otherwise the chain is the sweep's front, and the policy picks among those that pass.
        """
        if self.config.against != "dense":
            return self._of_front(picker, self.config.against)
        picked = picker.pick(candidates(self.home))
        ladder = [one for one in self.home.records() if one.parent and one.parent == picked.record.parent]
        if len(ladder) > 1:
            return self._of_trial(picker, picked, sorted(ladder, key=amount_of))
        return self._of_front(picker, "best") if amount_of(picked.record) > 0 else (picked, self._nothing(picked))

    def _of_trial(self, picker: Picker, picked: Picked, ladder: Sequence[TrialRecord]) -> tuple[Picked, dict[str, Any]]:
        """Return the strongest certified candidate of the picked trial that meets the limits."""
        dense, *rungs = ladder
        removed = amount_of(dense)
        description = (
            f"the dense student {dense.trial_id}" if removed == 0 else f"{dense.trial_id}, {removed:.0%} of it removed,"
        )
        chain = Chain(reference=dense.trial_id, description=description, trials=tuple(one.trial_id for one in rungs))
        found = self._certified(chain)
        held = [dense.trial_id, *found["certified"]]
        certified = [one for one in candidates(self.home) if one.trial_id in held]
        fitting = {one.trial_id for one in picked.query.fitting(certified)}
        last = next((trial for trial in reversed(held) if trial in fitting), None)
        if last is None:
            raise NoStudentFits(
                f"the guard certifies {_listed(held)} of {dense.parent}, and none of these meets the limits of the selection. "
                "Loosen the limits, or guard.max_drop in another sweep."
            )
        record = next(one for one in ladder if one.trial_id == last)
        reason = f"The guard takes {last}, the smallest candidate of its trial that it certifies and that meets the limits."
        document = self._with_guarantee(chain, found, last)
        return picker.instead(picked, record, candidates(self.home), reason), document

    def _of_front(self, picker: Picker, against: str) -> tuple[Picked, dict[str, Any]]:
        """Return the policy's pick among the certified students of the front (Pareto Testing)."""
        chain = self._front_chain(against)
        found = self._certified(chain)
        held = {*found["certified"], chain.reference}
        records = [one for one in candidates(self.home) if one.trial_id in held]
        if not records:
            raise NoStudentFits(
                f"against {chain.description}, {why_none(self._primary, found)}. Loosen guard.max_drop in another sweep."
            )
        try:
            picked = picker.pick(records)
        except NoStudentFits as error:
            raise NoStudentFits(f"of the students that the guard certifies: {error}") from None
        return picked, self._with_guarantee(chain, found, picked.record.trial_id)

    def _front_chain(self, against: str) -> Chain:
        """Return the front in the order of its p-values on the decision half."""
        front = front_of(candidates(self.home), self.home.objectives())
        best = min(front, key=lambda one: self._primary.sign * one.measures[self._primary.name]).trial_id
        is_teacher = against == TEACHER
        reference = TEACHER if is_teacher else best
        description = "the teacher" if is_teacher else f"{best}, the most accurate of the front"
        names = [one.trial_id for one in front if one.trial_id != reference]
        own = {name: self._contributions(name, self._decision) for name in names}
        order = by_evidence(
            self._primary, self._contributions(reference, self._decision), own, self.config.max_drop, self.context.seed
        )  # fmt: skip
        return Chain(reference=reference, description=description, trials=tuple(order))

    def _certified(self, chain: Chain) -> dict[str, Any]:
        """Return the tests of a chain on the certification half, and record them; recorded tests are not repeated."""
        earlier = self.home.facts().get("certifications", [])
        for number, one in enumerate(earlier, 1):
            if one["chain"] == chain.document():
                return {**one["result"], "evaluation": number}
        if not chain.trials:
            return {**self._tested(chain, self.config.confidence), "evaluation": 0}
        if earlier and not self.again:
            raise InputError(
                f"the certification half of sweep '{self.home.name}' was already used to test {_listed(_tested_in(earlier))}. "
                f"A test of {_listed(chain.trials)} on the same {len(self.context.certification):,} examples weakens the "
                "guarantee. Select what was certified, or add --again: the tests are then stricter, to allow for the choice."
            )
        self.events.stage(f"testing {_listed(chain.trials)} against {chain.description} on the certification half")
        evaluation = len(earlier) + 1
        result = self._tested(chain, confidence_of(evaluation, self._num_chains(), self.config.confidence))
        self.home.update(certifications={"chain": chain.document(), "result": result, "unix_time_s": time.time()})
        return {**result, "evaluation": evaluation}

    def _tested(self, chain: Chain, confidence: float) -> dict[str, Any]:
        examples = self.context.certification
        reference = self._contributions(chain.reference, examples)
        each = ((trial, self._contributions(trial, examples)) for trial in chain.trials)
        steps = fixed_sequence(self._primary, reference, each, self.config.max_drop, confidence, self.context.seed)
        is_exact = all(step.comparison.lost is not None for step in steps)
        return {
            "against": chain.reference, "max_drop": self.config.max_drop, "confidence": self.config.confidence,
            "test_confidence": confidence, "test": EXACT if is_exact else BOOTSTRAP, "n": len(examples),
            "steps": [step.document() for step in steps],
            "certified": [step.trial for step in steps if step.passed],
            "untested": list(chain.trials[len(steps) :]),
        }  # fmt: skip

    def _num_chains(self) -> int:
        """Return how many chains a selection might test: each trial of several candidates, and the front."""
        return 1 + len({one.parent for one in self.home.records() if one.parent})

    def _with_guarantee(self, chain: Chain, found: dict[str, Any], result: str) -> dict[str, Any]:
        document = {**found, "result": result, "is_certified": result in found["certified"]}
        text = guarantee_text(self._primary, document, chain.description)
        if found["evaluation"] > 1:
            text += (
                f" This was evaluation {found['evaluation']} of the certification half: each test had "
                f"{100 * found['test_confidence']:.4g} % confidence, so that the guarantee allows for the choice."
            )
        return {**document, "guarantee": text}

    def _nothing(self, picked: Picked) -> dict[str, Any]:
        trial = picked.record.trial_id
        return {
            "against": trial, "max_drop": self.config.max_drop, "confidence": self.config.confidence, "n": 0, "steps": [],
            "certified": [], "untested": [], "evaluation": 0, "result": trial, "is_certified": False,
            "guarantee": f"The guard has nothing to certify: nothing was removed from {trial}. With guard.against: best it "
            "compares networks of different sizes.",
        }  # fmt: skip

    def _contributions(self, name: str, examples: Examples) -> Contributions:
        trusted = self.home.spec().own_code()
        model = self.context.teacher if name == TEACHER else runtime.read(self.home.student_path(name), trusted)
        return inference.contributions_of(model, self.context.built_task, examples)[self._primary.name]

    @property
    def _decision(self) -> Examples:
        return self.context.splits["validation"]

    @cached_property
    def _primary(self) -> Measure:
        return self.home.primary()


def amount_of(record: TrialRecord) -> float:
    """Return the share that was removed from a candidate."""
    if record.candidate is not None:
        return record.candidates[0].amount
    return float(record.config["sparsity"].get("amount", 0.0))


def _tested_in(evaluations: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(trial for one in evaluations for trial in one["chain"]["trials"]))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown or "no candidate"
