"""A sweep from its spec to its front: the steps in their order."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tutelage import signals
from tutelage.dashboard.snapshot_listener import SnapshotListener, log_from_ledger
from tutelage.errors import NoStudentFits, UnreachableError, WorkFailed
from tutelage.measure import Measure
from tutelage.objectives import Limits, Objective
from tutelage.records import sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.fronts import candidates, outside_reference
from tutelage.records.metrics import Metrics
from tutelage.records.metrics_server import serving
from tutelage.records.mlflow_listener import MlflowListener
from tutelage.records.observer import Observer, SweepStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker, task_name, tracker_of
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redact
from tutelage.report import restore
from tutelage.report.restore import common_params, lost_run_text
from tutelage.search import sampler
from tutelage.selection.confirmation import Confirmation
from tutelage.selection.estimate import FreshValues, put_on_record
from tutelage.selection.latency import measure_latencies
from tutelage.selection.query import SelectionQuery, policies_taken
from tutelage.selection.retrain import Retraining
from tutelage.spec.spec import Spec
from tutelage.spec.yaml_lines import dump
from tutelage.storage import open_storage
from tutelage.sweep import (
    data_description,
    guard_checks,
    identity,
    knowledge,
    own_plugins,
    search,
    sizing,
    student_checks,
    warm_start,
)
from tutelage.sweep.ending import ending
from tutelage.sweep.extension import address_of
from tutelage.sweep.recorder import Recorder, record_run_ids
from tutelage.sweep.teacher_store import Teacher
from tutelage.sweep.teachers import as_one, ensure_teacher, ensure_teachers
from tutelage.training.cluster import check_resources, cluster, gpu_share
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.ray_train import workers_of


def sweep(spec: Spec, *, address: str | None = None, observers: Sequence[Observer] = ()) -> SweepDir:
    """Run a whole sweep: teacher, knowledge, search, latency, front. Return its directory.

    `address` is a Ray cluster's; None starts one on this machine, or uses the one this process is connected to. `observers` are
    functions that get each event (see `records.observer`); none of them can delay or end the sweep. Raises `InputError` before
    anything is written if the sweep exists, `UnreachableError` for a cluster, store or storage.
    """
    with Dispatcher(observers) as events:
        sweeps.check_free(spec.storage, spec.name)
        context = opened(spec, events)
        return run(spec, context, partial(_created, spec), address=address, events=events)


@contextmanager
def _created(spec: Spec) -> Iterator[SweepDir]:
    """Create the directory of a new sweep, and drive the sweep within the block."""
    with sweeps.sweep_at(spec.storage, spec.name).driven():
        home = sweeps.create(spec.storage, spec.name, dump(spec.kept()))
        home.update(spec=address_of(spec))
        shutil.rmtree(_runs_dir(spec), ignore_errors=True)  # an earlier sweep's checkpoints must not be taken for this one's
        yield home


def run(
    spec: Spec, context: TrainingContext, driven: Callable[[], AbstractContextManager[SweepDir]], *, address: str | None,
    events: Dispatcher, run_id: str = "",
) -> SweepDir:  # fmt: skip
    """Run a sweep from its present state, within `driven`, which is entered once the cluster and MLflow are reachable.

    `run_id` is that of its run in MLflow, if it has one.
    """
    tracker = tracker_of(spec, run_id)
    metrics = Metrics(spec.name, tracker, gpu_share)
    try:
        with cluster(address, events, spec):
            check_resources(spec)
            with serving(metrics, spec.tracking, events), driven() as home, ending(home, events):
                events.send(SweepStarted(sweep=home.name, num_trials=spec.search.trials, primary=spec.primary))
                _run(spec, home, context, tracker, events)
                shutil.rmtree(_runs_dir(spec), ignore_errors=True)
    finally:
        tracker.close()
    return home


def _runs_dir(spec: Spec) -> Path:
    return open_storage(spec.storage).writable_path(f"runs/{spec.name}")


def opened(spec: Spec, events: Dispatcher) -> TrainingContext:
    """Return the spec's context after all checks that write nothing; `InputError` if one fails."""
    sampler.check(spec.search.sampler)
    for name in spec.search.warm_start:
        warm_start.find(spec.storage, name)
    context = context_of(spec)
    guard_checks.check_guard(spec, context)
    knowledge.check_knowledge(spec, context)
    student_checks.check_students(spec, context)
    student_checks.check_sparsity(spec, context)
    own_plugins.check_own_plugins(spec, context)
    sizing.check_constraints(spec, context)
    student_checks.check_latency(spec, context)
    events.stage(f"data {context.fingerprint[:16]}: {data_description.sizes(context)}")
    for line in [*data_description.lines(context), *guard_checks.lines(spec, context)]:
        events.stage(line)
    return context


def _run(spec: Spec, home: SweepDir, context: TrainingContext, tracker: Tracker, events: Dispatcher) -> None:
    teachers = ensure_teachers(spec, context, events.stage)
    for one in teachers:
        events.stage(describe_teacher(one, spec.primary))
    context = knowledge.ensure_knowledge(spec, context, teachers, events.stage, events.send)
    teacher = as_one(teachers, context)
    if len(teachers) > 1:
        events.stage(_ensemble_text(spec.primary, teacher, teachers))
    known = "objectives" in home.facts()
    objectives = home.objectives() if known else with_references(spec.search.objectives, teacher.measures)
    ended = home.ledger.ended()
    recorder = _open_recorder(home, spec, context, teacher, objectives, tracker, events)
    paused = home.paused()
    recorder.resume([*ended, *paused])
    try:
        search.search(spec, context, recorder, [*ended, *paused, *home.pending()])
    except signals.STOPS:
        with signals.deferred():
            recorder.publish_if_any()
        raise
    require_students(home.records(), spec.search.constraints, len(recorder.front))
    if outside := outside_reference(home, objectives):
        events.stage(
            "on the front but without a part of the hypervolume, because no better than the reference point in some "
            f"objective: {', '.join(outside)}"
        )
    written = home.students.list()
    on_front = [trial for trial in recorder.front if trial in written]
    recorder.teacher = {**recorder.teacher, **measure_latencies(home, context, on_front, tracker, events)}
    home.update(teacher={**home.facts()["teacher"], **recorder.teacher})
    _confirm_front(spec, home, context, tracker, events)
    recorder.publish()


def _ensemble_text(primary: Measure, together: Teacher, teachers: Sequence[Teacher]) -> str:
    """Return the quality of several teachers together as text, and whether one of them is better."""
    own, alone = together.measures[primary.name], [one.measures[primary.name] for one in teachers]
    best = min(alone, key=lambda value: primary.sign * value)
    worse = f"; the best of them has {primary.text(best)}" if primary.is_better(best, own) else ""
    return f"together the teachers have {primary.label} {primary.text_with_unit(own)}{worse}"


def require_students(records: Sequence[TrialRecord], limits: Limits, front_size: int) -> None:
    """Raise if a search ended without a front: `NoStudentFits` with the nearest student, or `WorkFailed` with the cause."""
    if front_size:
        return
    sized = [record for record in records if record.measures]
    if not sized:
        why = records[0].error.strip().splitlines()[-1] if records else "the time limit was reached before the first one ended"
        raise WorkFailed(f"none of {len(records)} students could be trained: {why}")
    nearest = min(sized, key=lambda record: (limits.shortfall(record.measures), record.number))
    raise NoStudentFits(
        f"none of the {len(records)} students meets {limits.describe()}. The nearest, {nearest.trial_id}, has "
        f"{limits.describe_missed(nearest.measures)}. "
        "Loosen search.constraints, or widen the space under `student` and `sparsity`."
    )


def train_teacher(spec: Spec, *, address: str | None = None, observers: Sequence[Observer] = ()) -> Teacher:
    """Train the spec's teacher alone, or reuse it. A training that was stopped is resumed from its last epoch."""
    open_storage(spec.storage).check()
    with Dispatcher(observers) as events, cluster(address, events):
        return ensure_teacher(spec, context_of(spec), events.stage)


def catch_up(home: SweepDir, uri: str | None = None) -> dict[str, Any]:
    """Write the pending lines of a sweep's spool to MLflow and return their number; `UnreachableError` if some are left."""
    home.check_idle()
    facts, spec = home.facts(), home.spec()
    if "run_id" not in facts:
        if not home.spool_path.exists():
            return {"version": 1, "sweep": home.name, "written": 0}
        raise WorkFailed(f"sweep '{home.name}' ended before MLflow had a run for it; `{home.command('resume')}` continues it.")
    uri = uri or home.tracking_uri
    tracker = Tracker(uri, spec.tracking.experiment or task_name(spec), home.spool_path, spec.measures, facts["run_id"])
    restore.reopen(home, tracker, logging.getLogger(__name__).warning)
    num_found = tracker.num_found
    if num_found or tracker.has_lost_run:
        log_from_ledger(home, tracker, policies_taken)
    tracker.flush()
    record_run_ids(home, tracker.run_ids)
    tracker.close()
    if home.spool_path.exists():
        raise UnreachableError(f"MLflow at {redact(uri)} did not accept all writes; the rest is in {home.spool_path}.")
    return {"version": 1, "sweep": home.name, "written": num_found}


def describe_teacher(teacher: Teacher, primary: Measure) -> str:
    """Return the teacher's quality and size as text."""
    measures = teacher.measures
    quality = primary.text_with_unit(measures[primary.name])
    return f"teacher: {primary.label} {quality} on validation, {measures['params']:,.0f} parameters"


def with_references(objectives: tuple[Objective, ...], teacher: Mapping[str, float]) -> tuple[Objective, ...]:
    """Return the objectives with all reference points: the spec's, otherwise the teacher's own value."""
    return tuple(
        objective if objective.reference is not None else replace(objective, reference=teacher.get(objective.name, 1e6))
        for objective in objectives
    )


def _open_recorder(
    home: SweepDir, spec: Spec, context: TrainingContext, teacher: Teacher, objectives: tuple[Objective, ...],
    tracker: Tracker, events: Dispatcher,
) -> Recorder:  # fmt: skip
    """Start the sweep's run in MLflow, and return its recorder."""
    searched = tuple(spec.space.names())
    common = common_params(home, teacher.address)
    run_id = home.facts().get("run_id") or tracker.find_run(home.name, home.ledger.ended())
    fingerprint, num_examples = context.fingerprint, {str(name): len(split) for name, split in context.splits.items()}
    if context.has_guard:
        num_examples["certification"] = len(context.certification)
    if run_id and not tracker.has_lost_run:
        tracker.reopen(run_id, resumed=True)
    else:
        if run_id:
            events.stage(lost_run_text(tracker))
        run_id = tracker.start_sweep(spec.name, home.kept_spec().kept(), searched, common)
    events.attach(MlflowListener(tracker=tracker, searched=searched, common=common))
    tracker.log_dataset(run_id, common["data"], fingerprint, num_examples)
    tracker.log_teacher(
        f"teacher {teacher.address}", teacher.address, spec.resolved()["teacher"], teacher.measures, teacher.curve
    )
    tracker.save_compare_view(searched)
    assert context.knowledge is not None
    home.update(
        state="running",
        run_id=run_id,
        objectives=[objective.document() for objective in objectives],
        measures=[measure.document() for measure in spec.measures.values()],
        teacher={"address": teacher.address, "source": teacher.source, **teacher.measures},
        fingerprint=fingerprint,
        num_examples=num_examples,
        knowledge=context.knowledge.document(),
        code=identity.search_code(spec),
        experiment_id=tracker.experiment_id,
    )
    events.attach(SnapshotListener(home, tracker, policies_taken))
    return Recorder(
        home=home, objectives=objectives, limits=spec.search.constraints, teacher_address=teacher.address, tracker=tracker,
        events=events, learn=lambda record: None, teacher=teacher.measures,
    )  # fmt: skip


def _confirm_front(spec: Spec, home: SweepDir, context: TrainingContext, tracker: Tracker, events: Dispatcher) -> None:
    """Train the front's students again with fresh seeds, and those that enter the front when others regress."""
    if not spec.search.confirm:
        return
    records = {record.trial_id: record for record in candidates(home)}
    retraining = Retraining(home=home, context=context, workers=workers_of(spec.resources.trial), num_seeds=spec.search.confirm)

    def train(trials: Sequence[str]) -> FreshValues:
        events.stage(f"training {len(trials)} students of the front with {spec.search.confirm} fresh seeds each")
        return retraining.distilled([records[trial] for trial in trials])

    num_judged = len(context.splits["validation"])
    known = {trial: runs for trial, runs in retraining.confirmed().items() if trial in records}
    axes = SelectionQuery(policy=spec.select.policy, objectives=home.objectives(), primary=spec.primary)
    race = Confirmation(query=axes, records=list(records.values()), num_judged=num_judged, seeds=spec.search.confirm)
    put_on_record(home, tracker, race.run_for_front(known, train), num_judged)
