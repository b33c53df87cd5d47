"""A running search: it suggests, judges and records trials until its budget is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tutelage import plugins
from tutelage.records.trial import OPEN, Suggestion, TrialRecord, trial_name
from tutelage.search import ray_tune
from tutelage.search.budget import Budget
from tutelage.search.leaving import leaving, reason_of, through_tune
from tutelage.search.rules import Decision, Judge
from tutelage.search.suggest import Suggester
from tutelage.spec.spec import Spec
from tutelage.storage import StorageFailed, open_storage
from tutelage.sweep.beat import beating
from tutelage.sweep.recorder import Recorder
from tutelage.training import spare_processes, student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import workers_of


def with_spent(records: Sequence[TrialRecord], running_s: Mapping[str, float]) -> list[TrialRecord]:
    """Return the records; running trials have the seconds that the last driver recorded by their names."""
    return [
        replace(record, elapsed_s=max(record.elapsed_s, running_s.get(record.trial_id, 0.0)))
        if record.state in OPEN
        else record
        for record in records
    ]


@dataclass(kw_only=True)
class SearchLoop:
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
        """Record a trial that has ended or is paused. Raises `StorageFailed` for one that failed because nothing could be
        written: it will be trained again."""
        if record.state == "failed" and (why := reason_of(record.error)):
            raise StorageFailed(self.recorder.home.storage.uri, why)
        self.budget.learn(record)
        self.recorder.returned(record)
        if record.state == "paused" and self.stopping:
            self.stopping.learn(record)

    def learn(self, record: TrialRecord) -> None:
        """Pass the record of an ended trial to the suggester, the budget and the judge."""
        self.suggester.learn(record)
        self.budget.learn(record)
        if self.stopping:
            self.stopping.learn(record)

    def judge(self, suggestion: Suggestion, row: dict[str, Any]) -> Decision:
        """Return the decision about a trial at a rung."""
        assert self.stopping is not None
        self.suggester.observe(suggestion, row)
        return self.stopping.judge(suggestion, row)

    def next_suggestion(self) -> Suggestion | None:
        """Return the next suggestion to train, that of a promoted paused trial or a new one; None if there is none."""
        started_s = time.monotonic()
        suggestion = self._next_suggestion()
        self.recorder.suggested(time.monotonic() - started_s)
        return suggestion

    def _next_suggestion(self) -> Suggestion | None:
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
        """Train until there are no more suggestions or the budget is used; trials that are paused then are stopped."""
        home, started_s = self.recorder.home, time.monotonic()
        self.recorder.learn = self.learn
        text, first = _description(spec, self.suggester), self.next_suggestion()
        self.recorder.events.stage(text)

        def spent() -> dict[str, Any]:
            running_s = {trial_name(number): seconds for number, seconds in list(self.spent_s.items())}
            return {"search_s": spent_s + time.monotonic() - started_s, "running_s": running_s}

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
        """Return why the search has trained fewer students than the spec has, as text; "" if it has not."""
        num_accepted, trials = self.suggester.num_accepted, spec.search.trials
        if self.suggester.exhausted:
            more = f" of the {trials} of search.trials" if trials else ""
            return f"the search space has no further new student that meets the constraints; {num_accepted}{more} were trained"
        return f"the {spec.search.hours:g} hours of search.hours have passed" if is_over(spec, search_s) else ""


def is_over(spec: Spec, search_s: float) -> bool:
    """Return whether the search has used its hours."""
    return bool(spec.search.hours) and search_s >= (spec.search.hours or 0) * 3600


def _run(
    spec: Spec, context: TrainingContext, search: SearchLoop, next_suggestion: Callable[[], Suggestion | None], spent_s: float
) -> None:  # fmt: skip
    """Run a search on Ray Tune."""
    recorder, stopping = search.recorder, search.stopping
    rungs = (
        ray_tune.Rungs(epochs=stopping.rungs, judge=through_tune(search.judge), pausing=stopping.pausing) if stopping else None
    )
    named = {objective.name for objective in recorder.objectives} | set(recorder.limits.max) | set(recorder.limits.min)
    workers = workers_of(spec.resources.trial)
    with_latency = any(spec.measures[name].available == "on_device" for name in named)
    open_trial = student_jobs.StudentTrials(
        context=context, students=recorder.home.students, workers=workers, with_latency=with_latency
    )
    with leaving(spec.storage):
        ray_tune.run(
            open_trial,
            ray_tune.Handlers(
                next_suggestion=through_tune(next_suggestion), on_record=through_tune(search.returned),
                on_epoch=recorder.epoch_ended, on_news=recorder.events.stage, on_retry=recorder.retried,
                keep_spare=spare_processes.start, spent_s=search.spent_s,
            ),
            ray_tune.Slots(
                cpus=workers.cpus, gpus=workers.gpus, workers=workers.workers, concurrency=spec.search.concurrency,
                checkpoint_epochs=spec.search.checkpoint_epochs,
            ),
            open_storage(spec.storage).writable_path(f"runs/{spec.name}"),
            time_budget_s=max(1.0, spec.search.hours * 3600 - spent_s) if spec.search.hours else None, rungs=rungs,
        )  # fmt: skip


def _description(spec: Spec, suggester: Suggester) -> str:
    have = f", {suggester.num_accepted} of them are trained already," if suggester.num_accepted else ""
    trials, sampler = spec.search.trials or "as many as time allows", plugins.described(spec.search.sampler)
    return f"searching {trials} students{have} with {sampler}"
