"""The plan of a sweep and its cost, without training anything: `tutelage sweep --dry-run`."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace
from itertools import count
from typing import Any

from torch import nn

from tutelage import placement
from tutelage.errors import InputError
from tutelage.networks import checkpoint, forward, stages, timing
from tutelage.placement import Node
from tutelage.records import sweeps, tracker
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec.domains import any_value
from tutelage.spec.spec import Spec
from tutelage.storage import open_storage
from tutelage.sweep import data_description, guard_checks, identity, knowledge, pair_checks, pipeline, teacher_store, teachers
from tutelage.training import cluster, loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan
from tutelage.training.plan import TrainingPlan

SAMPLED_STUDENTS = 5


WARM_UP_STEPS, MAX_TIMED_STEPS = 2, 12
MAX_DRAWS = 64  # random students that are tried until one can be built


@timing.num_threads(1)  # on a busy machine the threads of a small network wait for each other at every operation
def plan(spec: Spec, address: str | None = None) -> dict[str, Any]:
    """Return the plan: teacher (reused, or its cost), trials, seconds of a trial, reachable services; nothing is trained.

    Seconds are measured over a few steps on this machine's CPU, with the threads of a worker, and multiplied by the number of
    steps. `address` is that of a Ray cluster; None plans for this machine, without starting Ray. Raises the errors of the sweep
    itself: `UnreachableError` for storage, MLflow, or resources that no node has, `InputError` for a name that is in use.
    """
    nodes = _nodes(spec, address)
    sweeps.check_free(spec.storage, spec.name)
    tracker.tracker_of(spec).close()
    context = pipeline.opened(spec, Dispatcher())
    teacher, model = _teachers_plan(spec, context)
    pair_checks.check_pairs(spec, context, model)
    seconds = [_trial_seconds(spec, context, number) for number in range(SAMPLED_STUDENTS)]
    trial_s = statistics.fmean(seconds)
    trials, train = spec.search.trials, context.splits["train"]
    at_once = cluster.trials_at_once(spec, nodes)
    unlabelled = len(train) - train.num_labelled
    return {
        "version": 1,
        "sweep": spec.name,
        "data": {**{name: len(split) for name, split in context.splits.items()}, "unlabelled": unlabelled},
        **data_description.document(context),
        **guard_checks.plan(spec, context),
        "teacher": teacher,
        "knowledge": _knowledge_plan(spec, context, model),
        "trials": trials,
        "searched": list(spec.space.names()),
        "trial_s": round(trial_s, 2),
        "trial_s_range": [round(min(seconds), 2), round(max(seconds), 2)],
        "trials_at_once": at_once,
        "search_s": round(trials * trial_s / at_once, 1) if trials else (spec.search.hours or 0) * 3600,
        "storage": f"{spec.storage} is writable",
        "tracking": "MLflow is reachable",
    }


def _nodes(spec: Spec, address: str | None) -> list[Node]:
    """Return the nodes that the sweep would run on, after the check of its resources."""
    if address is None:
        placement.check(nodes := cluster.nodes(), cluster.demands(spec))
        return nodes
    with cluster.cluster(address, Dispatcher()):
        cluster.check_resources(spec)
        return cluster.nodes()


def _teachers_plan(spec: Spec, context: TrainingContext) -> tuple[dict[str, Any], nn.Module]:
    """Return the source of each teacher and the seconds to train them; and the first teacher, which may be untrained."""
    found = [
        _teacher_plan(spec.model_copy(update={"teacher": teacher}), context) for teacher in (spec.teacher, *spec.more_teachers)
    ]
    plans = [about for about, _ in found]
    together = {"source": ", ".join(about["source"] for about in plans), "train_s": sum(about["train_s"] for about in plans)}
    return together, found[0][1]


def _teacher_plan(spec: Spec, context: TrainingContext) -> tuple[dict[str, Any], nn.Module]:
    if teachers.is_foreign(spec):
        model, _ = teachers.read_foreign(spec, context)
        return {"source": spec.teacher.path or spec.teacher.weights, "train_s": 0.0}, model
    model = checkpoint.seeded(context.architecture(spec.teacher.model), spec.seed)  # type: ignore[arg-type]
    address = identity.teacher_address(spec, spec.teacher, context.fingerprint)
    if teacher_store.stored_teacher(spec, address):
        return {"source": f"in the storage as {address}", "train_s": 0.0}, model
    if not spec.teacher.epochs:
        return {"source": "trained already", "train_s": 0.0}, model
    teachers.check_labelled(context)
    seconds = _training_seconds(model, student.label_only_plan(spec.teacher, context), spec.resources.teacher.cpus)
    return {"source": "to be trained", "train_s": round(seconds, 1)}, model


def _knowledge_plan(spec: Spec, context: TrainingContext, teacher: nn.Module) -> dict[str, Any]:
    """Return the bytes of the teacher's knowledge, and whether it would be cached or live."""
    num_classes = max(context.signature.classes.values())
    plan = KnowledgePlan(
        storage=open_storage(spec.storage), teachers=(), needs=knowledge.needs_of(spec), dtype=spec.knowledge.dtype,
        top_k=knowledge.top_k_of(spec, num_classes), temperature=knowledge.temperature_of(spec),
        samples=knowledge.samples_of(spec, num_classes),
    )  # fmt: skip
    named = stages.name_layers(teacher, spec.knowledge.layers)
    num_bytes = knowledge.knowledge_bytes(spec, replace(context, knowledge=plan), named)
    is_live = spec.knowledge.mode == "live" or bool(knowledge.why_too_large(spec, num_bytes))
    return {"bytes": num_bytes, "views": knowledge.views_of(spec), "mode": "live" if is_live else "cached"}


def _trial_seconds(spec: Spec, context: TrainingContext, number: int) -> float:
    generator = random.Random(spec.seed * 1000 + number)
    for attempt in count(1):
        config, _ = spec.space.resolve(lambda name, domain: any_value(generator, domain))
        typed = spec.trial_config(config)
        try:
            model = student.untrained(typed, context, spec.seed)
        except InputError:  # these values make no network
            if attempt == MAX_DRAWS:
                raise
        else:
            return _training_seconds(model, student.plan(typed, context, spec.seed), spec.resources.trial.cpus)
    raise AssertionError("the loop ends with a student or an error")


@forward.contained()
def _training_seconds(model: Any, plan: TrainingPlan, cpus: float) -> float:
    """Return the seconds of a training on `cpus`, scaled from a few steps that follow two others."""
    size, usual = plan.recipe.batch_size, replace(plan, sparsity=None, phases=())
    with timing.num_threads(max(1, int(cpus))):
        for steps in (WARM_UP_STEPS, MAX_TIMED_STEPS):
            short = plan.train.few(size * steps)
            timed = loop.Training(model, replace(usual, train=short, validation=short))
            started_s = time.perf_counter()
            timed.epoch()
            per_row_s = (time.perf_counter() - started_s) / len(short)
    return per_row_s * len(plan.train) * plan.recipe.epochs
