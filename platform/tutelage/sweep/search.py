"""A sweep's search, put together: what proposes, what judges, what ends it, and Ray Tune that runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tutelage import plugins
from tutelage.errors import TutelageError
from tutelage.measure import identity as identity_scale
from tutelage.measure import neg_log10_error
from tutelage.objectives import even_reference
from tutelage.records.trial import OPEN, Suggestion, TrialRecord, trial_name
from tutelage.search import ray_tune
from tutelage.search.budget import Budget
from tutelage.search.first_trials import first_suggestions
from tutelage.search.gaussian_process import Array
from tutelage.search.leaving import leaving, reason_of, through_tune
from tutelage.search.promotion import LEAST_GAIN, Promotion
from tutelage.search.sampler import Sampler
from tutelage.search.samplers import Chooser
from tutelage.search.stopping import BracketedJudge, Decision, Judge, PromotionJudge, RuleJudge, rule_of, rungs_of
from tutelage.search.suggest import Callbacks, Goal, SeededSuggestion, Suggester, size_losses
from tutelage.spec.domains import Choice
from tutelage.spec.spec import Spec
from tutelage.storage import StorageFailed, open_storage
from tutelage.sweep import knowledge, warm_start
from tutelage.sweep.beat import beating
from tutelage.sweep.identity import student_address
from tutelage.sweep.recorder import Recorder
from tutelage.sweep.sizing import initial_params, presize, remembering
from tutelage.training import student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import workers_of

KNOWN_SHARE = 4  # of the trials, at most one in so many is a student that was known before


def search(spec: Spec, context: TrainingContext, recorder: Recorder, earlier: Sequence[TrialRecord] = ()) -> None:
    """Search students on Ray Tune; every trial's beginning and end comes back through the recorder.

    `earlier` are the records of a search that is resumed: ended trials are learnt from, the others are trained first.
    """
    under_way = _opened(spec, context, recorder)
    facts = recorder.home.facts() if earlier else {}
    under_way.resume(with_spent(earlier, facts.get("running_s", {})))
    under_way.run(spec, context, spent_s=facts.get("search_s", 0.0))


def with_spent(records: Sequence[TrialRecord], running_s: Mapping[str, float]) -> list[TrialRecord]:
    """Return the records, those of running trials with the seconds that the last driver has put on record by their names."""
    return [
        replace(record, elapsed_s=max(record.elapsed_s, running_s.get(record.trial_id, 0.0)))
        if record.state in OPEN
        else record
        for record in records
    ]


@dataclass(kw_only=True)
class _SearchLoop:
    """A running search: the suggester, the judge and the budget, which all learn from the same records."""

    recorder: Recorder
    suggester: Suggester
    stopping: Judge | None
    budget: Budget
    spent_s: dict[int, float] = field(default_factory=dict)  # by trials that have not ended

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of an earlier driver."""
        self.suggester.resume(records)
        if self.stopping:
            self.stopping.resume(records)
        for record in records:
            self.budget.learn(record)
            if record.state in OPEN:
                self.spent_s[record.number] = record.elapsed_s

    def returned(self, record: TrialRecord) -> None:
        """Record a trial that has ended or is paused; one that failed as nothing could be written is to be trained again."""
        if record.state == "failed" and (why := reason_of(record.error)):
            raise StorageFailed(str(self.recorder.home.storage), why)
        self.budget.learn(record)
        self.recorder.returned(record)

    def learn(self, record: TrialRecord) -> None:
        """Learn what became of a trial."""
        self.suggester.learn(record)
        self.budget.learn(record)
        if self.stopping:
            self.stopping.learn(record)

    def judge(self, suggestion: Suggestion, row: dict[str, Any]) -> Decision:
        """Return what becomes of a trial at a rung."""
        assert self.stopping is not None
        self.suggester.observe(suggestion, row)
        return self.stopping.judge(suggestion, row)

    def next_suggestion(self) -> Suggestion | None:
        """Return what is trained next: a paused trial that goes on, or a new one; None while there is neither."""
        if self.budget.why_over(self.recorder.hypervolumes):
            return None
        again = self.stopping.promoted(is_last=False) if self.stopping else None
        suggestion = None if again else self.suggester.next()
        if suggestion is None and again is None and self.stopping:
            again = self.stopping.promoted(is_last=True)
        if again:
            self.recorder.started(again.record("running"))
        return suggestion or again

    def run(self, spec: Spec, context: TrainingContext, spent_s: float) -> None:
        """Train until nothing is left to be, or the budget is spent; what is paused then is stopped."""
        home, begun_s = self.recorder.home, time.time()
        self.recorder.learn = self.learn
        said, first = _said(spec, self.suggester), self.next_suggestion()
        self.recorder.events.stage(said)

        def spent() -> dict[str, Any]:
            running_s = {trial_name(number): seconds for number, seconds in list(self.spent_s.items())}
            return {"search_s": spent_s + time.time() - begun_s, "running_s": running_s}

        try:
            if first:
                waiting = [first]
                with beating(home, spent):
                    _run(spec, context, self, lambda: waiting.pop() if waiting else self.next_suggestion(), spent_s)
            for record in home.paused():
                self.recorder.finished(replace(record, state="stopped"))
        finally:
            home.update(**spent(), exhausted=self.suggester.exhausted)
        if why := self.budget.why_over(self.recorder.hypervolumes) or self._why_fewer(spec, spent()["search_s"]):
            self.recorder.events.stage(f"the search has ended: {why}")

    def _why_fewer(self, spec: Spec, search_s: float) -> str:
        """Return in words why the search has trained fewer students than the spec says; "" if it has not."""
        num_given, trials = self.suggester.num_given, spec.search.trials
        if self.suggester.exhausted:
            more = f", of {trials} that search.trials asks for" if trials else ""
            return f"the space has no further student that is new and meets the constraints; {num_given} were trained{more}"
        return f"the {spec.search.hours:g} hours of search.hours are over" if is_over(spec, search_s) else ""


def is_over(spec: Spec, search_s: float) -> bool:
    """Return whether the search has had its hours."""
    return bool(spec.search.hours) and search_s >= (spec.search.hours or 0) * 3600


def _opened(spec: Spec, context: TrainingContext, recorder: Recorder) -> _SearchLoop:
    """Put a search together, nothing proposed yet."""
    warm = warm_start.read(spec, recorder.home, context)
    stopping = _stopping(spec, context, recorder)
    rungs = stopping.rungs if stopping else frozenset()
    journal = recorder.home.files.local_path("study.journal").resolve()
    sampler = Sampler(spec.space, len(recorder.objectives), spec.search.sampler, spec.seed, sorted(rungs), journal)
    callbacks = Callbacks(
        presize=remembering(partial(presize, spec, context)), recall=warm.recall,
        identify=partial(student_address, spec, context, recorder.teacher_address),
        on_started=recorder.started, on_ended=recorder.rejected,
    )  # fmt: skip
    seeded = [*warm.seeded, *_known(spec, context)][: _most_known(spec)]
    chooser = _chooser(spec, recorder, callbacks)
    suggester = Suggester(
        sampler, Goal(objectives=recorder.objectives, limits=recorder.limits, learned=spec.primary), callbacks,
        spec.search.trials, seeded=seeded, chooser=chooser,
    )  # fmt: skip
    warm.teach(suggester)
    return _SearchLoop(recorder=recorder, suggester=suggester, stopping=stopping, budget=_budget(spec))


def _chooser(spec: Spec, recorder: Recorder, callbacks: Callbacks) -> Chooser | None:
    """Return what suggests students by their sizes, if the spec's sampler has such a chooser."""
    _, plugin, config = plugins.configure("samplers", spec.search.sampler)

    def losses_of(params: Mapping[str, Any]) -> Array | None:
        try:
            sizes = callbacks.presize(spec.space.resolve(lambda name, domain: params[name])[0]).final
        except TutelageError:
            return None
        return None if recorder.limits.missed(sizes) else size_losses(sizes, recorder.objectives, spec.primary)

    if not hasattr(plugin, "chooser"):
        return None
    reference = even_reference(recorder.objectives, spec.primary.name)
    found: Chooser = plugin.chooser(config, spec.space, losses_of, spec.seed, reference, _worst_end(spec, recorder))
    return found


def _worst_end(spec: Spec, recorder: Recorder) -> float:
    """Return the even loss of the primary measure that improves nothing: of a share, 0, and else that of its reference."""
    if spec.primary.scale is neg_log10_error:
        return 0.0
    return float(even_reference(recorder.objectives, spec.primary.name)[-1])


def _run(
    spec: Spec, context: TrainingContext, search: _SearchLoop, next_suggestion: Callable[[], Suggestion | None], spent_s: float
) -> None:  # fmt: skip
    """Run a search on Ray Tune."""
    recorder, stopping = search.recorder, search.stopping
    rungs = ray_tune.Rungs(epochs=stopping.rungs, judge=search.judge, pausing=stopping.pausing) if stopping else None
    named = {objective.name for objective in recorder.objectives} | set(recorder.limits.max) | set(recorder.limits.min)
    workers = workers_of(spec.resources.trial)
    with_latency = any(spec.measures[name].available == "on_device" for name in named)
    open_trial = student_jobs.StudentTrials(
        context=context, students_dir=recorder.home.students_dir.resolve(), workers=workers, with_latency=with_latency
    )
    with leaving(spec.storage):
        ray_tune.run(
            open_trial,
            ray_tune.Handlers(
                next_suggestion=through_tune(next_suggestion), on_record=through_tune(search.returned),
                on_epoch=recorder.epoch_ended, on_wait=recorder.events.stage, spent_s=search.spent_s,
            ),
            ray_tune.Slots(
                cpus=workers.cpus, gpus=workers.gpus, workers=workers.workers, concurrency=spec.search.concurrency,
                checkpoint_epochs=spec.search.checkpoint_epochs,
            ),
            open_storage(spec.storage).local_path(f"runs/{spec.name}"),
            time_budget_s=max(1.0, spec.search.hours * 3600 - spent_s) if spec.search.hours else None, rungs=rungs,
        )  # fmt: skip


def _said(spec: Spec, suggester: Suggester) -> str:
    have = f", {suggester.num_given} of them already" if suggester.num_given else ""
    trials, sampler = spec.search.trials or "as many as time allows", plugins.described(spec.search.sampler)
    return f"searching {trials} students{have} with {sampler}"


def _most_known(spec: Spec) -> int:
    return max(1, spec.search.trials // KNOWN_SHARE) if spec.search.trials else 8


def _known(spec: Spec, context: TrainingContext) -> list[SeededSuggestion]:
    if not spec.search.initial_design:
        return []
    size_of = partial(initial_params, spec, context)
    return first_suggestions(spec.space, spec.default_of, size_of, _most_known(spec), published_recipes(spec))


def published_recipes(spec: Spec) -> list[dict[str, Any]]:
    """Return the settings that the papers of the searched losses publish: method, temperature, weight, and their own scale.

    Published weights are for a loss at its formula's own scale; without `raw` in the space, there are no published settings.
    """
    domains = dict(spec.space.domains())
    searched, raw = domains.get("distillation.method"), domains.get("distillation.raw")
    if not (isinstance(raw, Choice) and True in raw.labels) and spec.distillation.get("raw") is not True:
        return []
    if isinstance(searched, Choice):
        methods = [(str(name), {"distillation.method": name}) for name in searched.labels]
    else:
        methods = [(plugins.parse_reference(spec.distillation["method"])[0], {})] if "method" in spec.distillation else []
    return [
        {**chosen, "distillation.raw": True, **{f"distillation.{setting}": value for setting, value in recipe.items()}}
        for name, chosen in methods
        if (recipe := getattr(plugins.load("losses", name), "PUBLISHED", None))
    ]


def _budget(spec: Spec) -> Budget:
    trial, plateau = spec.resources.trial, spec.search.plateau
    return Budget(
        device_hours=spec.search.device_hours, devices=(trial.gpus or trial.cpus) * max(1, trial.workers),
        plateau_trials=plateau.trials if plateau else None, plateau_gain=plateau.gain if plateau else 0.0,
    )  # fmt: skip


def _stopping(spec: Spec, context: TrainingContext, recorder: Recorder) -> Judge | None:
    """Return what judges trials at rungs; None where the spec asks for nothing, or students are too short to have any."""
    stopping, max_epochs = spec.search.stopping, knowledge.longest_epochs(spec)
    rungs = rungs_of(stopping, max_epochs) if stopping else frozenset()
    if stopping is None or not rungs:
        return None
    if stopping.rule == "promotion":
        rule = Promotion(
            rungs=sorted(rungs), max_epochs=max_epochs, share=stopping.share, num_students=spec.search.trials,
            worst=_worst_end(spec, recorder), least_gain=0.0 if spec.primary.scale is identity_scale else LEAST_GAIN,
        )  # fmt: skip
        return PromotionJudge(rule, recorder.objectives, spec.space, spec.primary)
    num_judged, every = len(context.splits["validation"]), sorted(rungs)
    brackets = [
        RuleJudge(rule_of(stopping, spec.primary, num_judged), frozenset(every[first:]), recorder.objectives, spec.primary)
        for first in range(min(stopping.brackets, len(every) + 1))
    ]
    return brackets[0] if len(brackets) == 1 else BracketedJudge(brackets, factor=stopping.factor, seed=spec.seed)
