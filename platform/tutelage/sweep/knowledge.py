"""The knowledge that a search needs of its teachers, and how students get it: cached up front, on first use, or live."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from tutelage.data import SplitName
from tutelage.errors import InputError, UnreachableError
from tutelage.files import expanded
from tutelage.measure import SMALLEST, Measure
from tutelage.networks.output import Need
from tutelage.records.observer import KnowledgeReady, Observer, ignored
from tutelage.spec.spec import Spec
from tutelage.storage import open_storage
from tutelage.sweep import identity
from tutelage.sweep.teacher_store import Teacher
from tutelage.training import distillation, knowledge_cache, knowledge_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan
from tutelage.training.ray_train import workers_of

FIRST_USE_SHARE = 0.8  # if students will probably use more than this share of the views, all are computed up front


def views_of(spec: Spec) -> int:
    """Return the number of views of a training example: the spec's, but at most the epochs of the longest student."""
    if not spec.augmentation.varies:
        return 1
    longest = longest_epochs(spec)
    return min(spec.knowledge.views or longest, longest)


def longest_epochs(spec: Spec) -> int:
    """Return the most epochs that a student of the search may have."""
    return max(int(corner["student"]["epochs"]) for corner in spec.space.corners())


def needs_of(spec: Spec) -> frozenset[Need]:
    """Return what students of the search compare with their teacher in addition to the logits."""
    found: frozenset[Need] = frozenset()
    for corner in spec.space.corners():
        found |= distillation.needs(spec.trial_config(corner))
    return found


def knowledge_bytes(spec: Spec, context: TrainingContext, teacher: nn.Module | None = None) -> int:
    """Return the bytes of the teacher's cached outputs on disk, including the logits of validation.

    `teacher` replaces the context's teacher, which may not be trained yet.
    """

    def view_bytes(split: SplitName) -> int:
        examples = context.splits[split]
        return sum(layout.num_bytes(len(examples), examples.lengths) for layout in context.layouts(split, teacher).values())

    return views_of(spec) * view_bytes("train") + view_bytes("validation")


def expected_views(spec: Spec) -> float:
    """Return the expected number of views that the longest student of the search uses.

    The largest of N epochs drawn uniformly from a range is expected at N / (N + 1) of it. For a search without a number of
    trials, it is all of them.
    """
    epochs, trials = [int(corner["student"]["epochs"]) for corner in spec.space.corners()], spec.search.trials
    reached = trials / (trials + 1) if trials else 1.0
    return min(views_of(spec), min(epochs) + (max(epochs) - min(epochs)) * reached)


def top_k_of(spec: Spec, num_classes: int) -> int:
    """Return how many classes of a step are cached, 0 for all; `InputError` if a loss of the search needs all."""
    top_k = spec.knowledge.top_k
    if top_k is None or top_k >= num_classes or spec.knowledge.mode == "live":
        return 0
    if "logits" in needs_of(spec):
        raise InputError(
            f"knowledge.top_k {top_k}: a loss of the search compares all {num_classes} classes. Remove top_k, or use kd "
            "without standardise, or losses of features."
        )
    return top_k


def temperature_of(spec: Spec) -> float | None:
    """Return the only temperature of the search, for which sparse knowledge is smaller; None if there are several."""
    temperatures = _temperatures(spec)
    return temperatures.pop() if len(temperatures) == 1 else None


def _temperatures(spec: Spec) -> set[float]:
    return {float(corner["distillation"]["temperature"]) for corner in spec.space.corners()}


def samples_of(spec: Spec, num_classes: int) -> int:
    """Return how many classes of a step are drawn in place of its logits, 0 for none.

    Raises `InputError` beside `top_k`, if a loss of the search needs all logits, and for a temperature other than 1.
    """
    samples = spec.knowledge.samples
    if samples is None or spec.knowledge.mode == "live":
        return 0
    if spec.knowledge.top_k is not None:
        raise InputError(f"knowledge.samples {samples} and knowledge.top_k {spec.knowledge.top_k} exclude each other: set one.")
    if "logits" in needs_of(spec):
        raise InputError(
            f"knowledge.samples {samples}: a loss of the search compares all {num_classes} classes. Remove samples, or use kd "
            "without standardise, or losses of features."
        )
    temperatures = _temperatures(spec)
    if temperatures != {1.0}:
        found = ", ".join(f"{one:g}" for one in sorted(temperatures))
        raise InputError(
            f"knowledge.samples {samples}: classes are drawn at temperature 1, and distillation.temperature is {found}. Set it "
            "to 1, or use knowledge.top_k."
        )
    return samples


def check_knowledge(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError`, before a teacher is trained, for a wrong `knowledge.top_k`, `samples` or `local_dir`."""
    top_k_of(spec, max(context.signature.classes.values()))
    samples_of(spec, max(context.signature.classes.values()))
    if spec.knowledge.local_dir is not None:
        place = expanded(spec.knowledge.local_dir).absolute()
        there = next(path for path in (place, *place.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(f"knowledge.local_dir {place}: {there} is not a writable directory. Name another.")


def _weight(primary: Measure, value: float) -> float:
    """Return a teacher's weight: its measure if higher is better, otherwise the inverse."""
    return max(value, SMALLEST) if primary.direction == "maximise" else 1 / max(value, SMALLEST)


def knowledge_plan(spec: Spec, context: TrainingContext, teachers: Sequence[Teacher]) -> KnowledgePlan:
    """Return the plan of the teachers' knowledge and its cache entry, which is named by its content address."""
    num_classes = max(context.signature.classes.values())
    settings, needed, top_k, samples = (
        spec.knowledge,
        needs_of(spec),
        top_k_of(spec, num_classes),
        samples_of(spec, num_classes),
    )
    primary = context.built_task.measures[0]
    shares = [1.0 if settings.average == "equal" else _weight(primary, t.measures[primary.name]) for t in teachers]
    kept = [(teacher.address, teacher.directory, share) for teacher, share in zip(teachers, shares, strict=True)]
    temperature = temperature_of(spec) if top_k else None
    address = identity.knowledge_address(spec, context, kept, sorted(needed), top_k, samples, temperature)
    return KnowledgePlan(
        storage=open_storage(spec.storage),
        teachers=tuple((t.key, share) for t, share in zip(teachers, shares, strict=True)),
        needs=needed,
        layers=tuple(settings.layers) if settings.layers else None,
        views=views_of(spec),
        cache=f"knowledge/{address}",
        dtype=settings.dtype,
        top_k=top_k,
        temperature=temperature,
        samples=samples,
        local_dir=expanded(settings.local_dir).absolute() if settings.local_dir else None,
    )


def ensure_knowledge(
    spec: Spec, context: TrainingContext, teachers: Sequence[Teacher], say: Callable[[str], None], send: Observer = ignored
) -> TrainingContext:
    """Return the context with the teachers' knowledge: reused, computed in a Ray Train job, or live.

    Messages about the decision, and about damaged views, which are computed again, are passed to `say`; `send` gets
    `KnowledgeReady`. Raises the errors of `_is_live`.
    """
    prepared = replace(context, knowledge=knowledge_plan(spec, context, teachers))
    plan = prepared.knowledge
    assert plan is not None and plan.entry is not None
    if damage := plan.entry.forget_damaged():
        say(f"the knowledge cache is damaged and is computed again: {damage}")
    num_bytes = knowledge_bytes(spec, prepared)
    views: list[tuple[SplitName, int]] = [("validation", 0), *(("train", view) for view in range(plan.views))]
    if _is_live(spec, plan, num_bytes, say):
        send(KnowledgeReady())
        return replace(prepared, knowledge=replace(plan, cache=None, views=spec.knowledge.views or 0))
    with plan.entry.lock(say):
        plan.entry.describe(prepared.teacher_outline)
        for damage in knowledge_cache.remove_damaged(plan.entry, views):
            say(f"the knowledge cache is damaged and is computed again: {damage}")
        missing = [view for view in views if not plan.entry.has(*view)]
        num_cached = len(views) - len(missing)
        if _fills_on_first_use(spec):
            say(f"the teacher's knowledge, {num_bytes:,} bytes at most, is computed when students first use it")
            missing = [view for view in missing if view[0] == "validation"]
        elif missing:
            of_views = f" of {plan.views} views" if plan.views > 1 else ""
            say(f"computing the teacher's knowledge{of_views}, {num_bytes:,} bytes")
        if missing:
            knowledge_jobs.write_knowledge(prepared, missing, workers_of(spec.resources.teacher))
    send(KnowledgeReady(num_cached=num_cached, num_computed=len(missing), num_bytes=num_bytes))
    return prepared


def _fills_on_first_use(spec: Spec) -> bool:
    """Return whether a view is computed by the first student that needs it.

    This saves unused views, but a student's workers then also run the teacher, so at least a fifth must be saved.
    """
    if spec.knowledge.fill != "auto":
        return spec.knowledge.fill == "first_use"
    return expected_views(spec) < FIRST_USE_SHARE * views_of(spec)


def _is_live(spec: Spec, plan: KnowledgePlan, num_bytes: int, say: Callable[[str], None]) -> bool:
    """Return whether the teacher runs during each student's training; the reason is passed to `say`.

    Raises the errors of `why_too_large`.
    """
    if spec.knowledge.mode == "live":
        say("the teacher runs during each student's training: knowledge.mode is live")
        return True
    assert plan.entry is not None
    why = why_too_large(spec, num_bytes, is_there=plan.entry.has("train", plan.views - 1))
    if why:
        say(f"the teacher runs during each student's training: its knowledge {why}")
    return bool(why)


def why_too_large(spec: Spec, num_bytes: int, *, is_there: bool = False) -> str:
    """Return why a cache of this size exceeds `knowledge.max_bytes` or its disk; "" if it fits, or `is_there` already.

    Raises `InputError` for a cache over its budget and `UnreachableError` for a full disk where `mode` is cached.
    """
    cache = open_storage(spec.storage).writable_path("knowledge")
    place = cache if cache.exists() else cache.parent  # it may be a disk of its own
    free, why = shutil.disk_usage(place).free, ""
    if num_bytes > spec.knowledge.max_bytes:
        why = f"takes {num_bytes:,} bytes, more than knowledge.max_bytes, {spec.knowledge.max_bytes:,.0f}"
    elif num_bytes > free and not is_there:
        why = f"takes {num_bytes:,} bytes, and {place} has {free:,} left"
    if why and spec.knowledge.mode == "cached":
        kind = InputError if num_bytes > spec.knowledge.max_bytes else UnreachableError
        raise kind(f"the teacher's knowledge {why}. Make room, or set fewer knowledge.views or knowledge.mode: live.")
    return why
