"""The selection of one student: confirmed by fresh seeds, compared with its label-only baseline, tested, registered."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tutelage import intervals
from tutelage.dashboard.snapshot_listener import log_from_ledger
from tutelage.files import strict_json
from tutelage.measure import Measure
from tutelage.networks import runtime
from tutelage.objectives import Limits
from tutelage.plugins import Reference
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.fronts import candidates
from tutelage.records.observer import Observer
from tutelage.records.sweep_dir import EXAMPLES, SELECTION, SweepDir
from tutelage.records.tracker import Tracker, tracker_of
from tutelage.records.trial import TrialRecord
from tutelage.report import restore, sweep_page
from tutelage.selection import capacity_gap, champions, comparison, confusions, estimate, examples, test_split
from tutelage.selection.champions import Registration
from tutelage.selection.estimate import Estimate
from tutelage.selection.guard import Guard
from tutelage.selection.latency import measure_latencies
from tutelage.selection.picking import Picked, Picker, seeds_text
from tutelage.selection.query import SelectionQuery, policies_taken
from tutelage.selection.retrain import Retraining
from tutelage.selection.same_data import check_data
from tutelage.selection.test_split import Subject
from tutelage.spec.spec import Spec
from tutelage.storage import until_written
from tutelage.training.cluster import cluster
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.knowledge_plan import planned
from tutelage.training.ray_train import workers_of

CONFIRM, RIVALS = 3, 6  # fresh seeds a student, and students that are trained again, by default


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The result of `select`: a JSON document, the student's directory, and the report."""

    document: dict[str, Any]
    student_dir: Path
    report_path: Path


def select(
    home: SweepDir, *, policy: Reference | None = None, limits: Limits | None = None, confirm: int = CONFIRM,
    rivals: int = RIVALS, register: Registration | str | None = None, again: bool = False, address: str | None = None,
    observers: Sequence[Observer] = (),
) -> Choice:  # fmt: skip
    """Select a student of a finished sweep and measure how good it is.

    Up to `rivals` students that the policy might pick are trained again with `confirm` fresh seeds, and the choice uses
    their confidence bounds; with `confirm` = 0 it uses the values of the search. The selected student is also trained
    without its teacher. Then the test split is evaluated for it, its teacher, its label-only baseline and the champion that
    it may replace, and the evaluation is recorded. `register` is the name under which it is registered in MLflow. If the spec
    has a guard, the choice is certified (see `Guard`); `again` allows a further evaluation of the certification half. Raises
    `NoStudentFits` when no student meets the limits, `InputError` for a policy or a registered model that cannot be used.
    """
    registration = Registration(name=register) if isinstance(register, str) else register
    sweep_spec = home.spec()
    query = _query(home, policy or sweep_spec.select.policy, limits or sweep_spec.select.limits)
    with Dispatcher(observers) as events, home.in_turn(events.stage), _tracked(home, sweep_spec, events) as tracker:
        context = context_with_teacher(home, sweep_spec)
        if registration:
            champions.champion(registration, home, context)  # raises before anything is trained
        measure_latencies(home, context, _unmeasured(home, query), tracker, events)
        query.select(candidates(home))  # raises before anything is trained
        retraining = Retraining(home=home, context=context, workers=workers_of(sweep_spec.resources.trial), num_seeds=confirm)
        with cluster(address, events):
            picker = Picker(query=query, retraining=retraining, rivals=rivals, events=events)
            chosen, guarded = _picked(home, context, picker, again)
            baselines = _baselines(chosen.record, retraining, events)
        estimate.put_on_record(home, tracker, retraining.confirmed(), len(context.splits["validation"]))
        with champions.in_turn(registration, home, events.stage):
            champion = champions.champion(registration, home, context) if registration else None
            tested = _tested(home, chosen.record, retraining, champion, events)
            document = {**_document(home, chosen, context, baselines, tested), "guard": guarded}
            with _on_record(home, tracker, document, events):
                if registration:
                    events.stage(f"registering {chosen.record.trial_id} as {registration.name}")
                    document["model"] = champions.register(registration, champion, home, tracker, document, context)
    _keep_examples(home, context, chosen.record.trial_id, events)
    return Choice(
        document=document, student_dir=home.student_path(chosen.record.trial_id), report_path=sweep_page.write_report(home)
    )


def _query(home: SweepDir, policy: Reference, limits: Limits) -> SelectionQuery:
    return SelectionQuery(
        policy=policy, limits=limits, objectives=home.objectives(), primary=home.primary(), teacher=home.facts()["teacher"]
    )


def context_with_teacher(home: SweepDir, sweep_spec: Spec) -> TrainingContext:
    """Return the context of a sweep that has a teacher, with its knowledge; `InputError` if the data have changed."""
    context = context_of(sweep_spec)
    check_data(home, context)
    return replace(context, knowledge=planned(home.facts()["knowledge"], home.storage))


@contextmanager
def _tracked(home: SweepDir, sweep_spec: Spec, events: Dispatcher) -> Iterator[Tracker]:
    """Write to the sweep's run within the block, as `restore.reopen`; `UnreachableError` if MLflow does not respond."""
    tracker = tracker_of(sweep_spec, home.facts()["run_id"])
    try:
        restore.reopen(home, tracker, events.stage)
        yield tracker
    finally:
        tracker.close()


@contextmanager
def _on_record(home: SweepDir, tracker: Tracker, document: dict[str, Any], events: Dispatcher) -> Iterator[None]:
    """Record the selection after the block, which may register the student, also if the block fails.

    At this point students were trained again and the test split was evaluated.
    """
    try:
        yield
    except BaseException:
        events.stage(
            f"{document['student']['trial']} was not registered. Its selection is recorded: tutelage report {home.name}"
        )
        raise
    finally:
        tracker.log_selection(document)
        until_written(partial(home.files.put, SELECTION, strict_json(document)), events.stage)
        log_from_ledger(home, tracker, policies_taken)


def _keep_examples(home: SweepDir, context: TrainingContext, trial: str, events: Dispatcher) -> None:
    """Store for the report the examples on which the student and its teacher differ most, and the classes that they confuse."""
    student = runtime.read(home.student_path(trial), home.spec().own_code())
    task, validation = context.built_task, context.splits["validation"]
    shown = examples.most_different(task, validation, context.teacher, student)
    confused = confusions.confusions(task, validation, context.teacher, student)
    if shown or confused:
        document = {"trial": trial, **(shown or {}), "confusions": confused}
        until_written(partial(home.files.put, EXAMPLES, strict_json(document)), events.stage)


def _picked(home: SweepDir, context: TrainingContext, picker: Picker, again: bool) -> tuple[Picked, dict[str, Any] | None]:
    """Return the pick and the guard's document, None if the sweep has no guard."""
    config = home.spec().guard
    if config is None:
        return picker.pick(candidates(home)), None
    return Guard(home=home, context=context, config=config, again=again, events=picker.events).pick(picker)


def _unmeasured(home: SweepDir, query: SelectionQuery) -> list[str]:
    """Return the trials without latency that meet all other limits."""
    timed = {name for name, measure in home.measures().items() if measure.available == "on_device"}
    if not timed & query.measures:
        return []
    unbound = replace(query, limits=query.limits.without(*timed))
    return [r.trial_id for r in candidates(home) if not timed <= set(r.measures) and unbound.fits([r], lacking=timed)[0]]


@dataclass(frozen=True, kw_only=True)
class _Baselines:
    """Primary measures of the label-only baseline, with the search's seed (None: no labels) and fresh ones, and distilled."""

    value: float | None
    fresh: Sequence[float]
    distilled: Sequence[float]


def _baselines(record: TrialRecord, retraining: Retraining, events: Dispatcher) -> _Baselines:
    distilled = retraining.confirmed().get(record.trial_id, ()) if retraining.num_seeds else ()
    if not retraining.has_labels:
        return _Baselines(value=None, fresh=(), distilled=distilled)
    also = f", also with {seeds_text(retraining.num_seeds)}" if retraining.num_seeds else ""
    events.stage(f"training {record.trial_id}'s label-only baseline{also}")
    own, fresh = retraining.label_only(record)
    return _Baselines(value=own, fresh=fresh, distilled=distilled)


def _tested(
    home: SweepDir, record: TrialRecord, retraining: Retraining, champion: Subject | None, events: Dispatcher
) -> dict[str, Any]:
    context, trusted = retraining.context, home.spec().own_code()
    subjects = {
        "student": Subject(name=record.trial_id, model=runtime.read(home.student_path(record.trial_id), trusted)),
        "teacher": Subject(name=home.facts()["teacher"]["address"], model=context.teacher),
    }
    if retraining.has_labels:
        subjects["label_only"] = Subject(name="baseline", model=runtime.read(retraining.baseline_dir(record), trusted))
    if champion:
        subjects["champion"] = champion
    others = {
        "teacher": "its teacher",
        "label_only": "its label-only baseline",
        "champion": f"the champion, {champion and champion.name}",
    }
    events.stage(
        f"evaluating the test split for {', '.join(['the student', *(others[one] for one in subjects if one in others)])}"
    )
    return test_split.test(home, context, subjects)


def _document(
    home: SweepDir, chosen: Picked, context: TrainingContext, baselines: _Baselines, tested: dict[str, Any]
) -> dict[str, Any]:
    record, measures, validation = chosen.record, chosen.record.measures, context.splits["validation"]
    assert context.knowledge is not None
    primary, source = chosen.query.primary, home.facts()["teacher"].get("source")
    confirmed = _confirmed(primary, chosen.rivals.get(record.trial_id), baselines)

    def student(one: TrialRecord) -> dict[str, Any]:
        return {"trial": one.trial_id, "measures": one.measures, "config": one.config}

    return {
        "version": 3,
        "sweep": home.name,
        "measure": primary.document(),
        "policy": chosen.query.policy_name,
        "reason": chosen.reason,
        "student": student(record),
        "runner_up": student(chosen.runner_up) if chosen.runner_up else None,
        "candidates": [
            {"trial": trial, "searched": one.searched, "change": one.mean - one.searched, "confirmed": _estimate(one)}
            for trial, one in sorted(chosen.rivals.items())
        ],
        "confirmed": confirmed,
        "regression": comparison.of_regression(primary, measures[primary.name], confirmed["distilled"]),
        "test": tested,
        "test_warning": comparison.of_test(tested),
        "distillation": comparison.of_distillation(primary, confirmed, tested),
        "other_measures": {name: measures[name] for name in _other_qualities(home) if name in measures},
        "capacity_gap": capacity_gap.found(home, record, primary, len(validation)),
        "transfer": comparison.of_transfer(primary, source, tested, len(context.knowledge.teachers)),
        "guard": None,
        "model": None,
    }


def _other_qualities(home: SweepDir) -> list[str]:
    """Return the names of the measures over examples, beside the primary one."""
    return [measure.name for measure in home.measures().values() if measure.spread and measure != home.primary()]


def _estimate(one: Estimate) -> dict[str, Any]:
    interval = list(one.interval) if one.interval else None
    return {"mean": one.mean, "sd": one.sd, "seeds": one.seeds, "interval": interval, "bound": one.bound}


def _confirmed(primary: Measure, estimate: Estimate | None, baselines: _Baselines) -> dict[str, Any]:
    """Return the results of fresh seeds, distilled and label-only, and the gain of distillation."""
    pairs = zip(baselines.distilled, baselines.fresh, strict=True) if baselines.fresh else []
    gains = [-primary.sign * (distilled - alone) for distilled, alone in pairs]
    return {
        "seeds": len(baselines.distilled),
        "baseline": baselines.value,
        "distilled": _estimate(estimate) if estimate else None,
        "label_only": _spread(baselines.fresh),
        "gain": _spread(gains),
    }


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Return mean, standard deviation and, from two values on, the mean's 95 % interval; None without values."""
    if not values:
        return None
    several = len(values) > 1
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if several else None,
        "interval": list(intervals.mean_interval(values)) if several else None,
    }
