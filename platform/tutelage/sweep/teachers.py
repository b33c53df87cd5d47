"""The teacher: reused if its content address is in the storage, otherwise trained or read from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from tutelage import files, plugins
from tutelage.errors import InputError, WorkFailed
from tutelage.networks import checkpoint, cost
from tutelage.networks.capture import sequences_from
from tutelage.networks.trust import EVERYTHING
from tutelage.networks.weights import weights_of
from tutelage.signature import vocabulary_difference
from tutelage.spec.loading import tracking_uri
from tutelage.spec.paths import located_data
from tutelage.spec.sections import SourceConfig, TeacherConfig
from tutelage.spec.spec import Spec
from tutelage.storage import lease_in_turn, open_storage
from tutelage.sweep import external_teacher, identity
from tutelage.sweep.pair_checks import check_half_size, check_pairs
from tutelage.sweep.teacher_store import Teacher, key_of, place_of, store_teacher, stored_teacher
from tutelage.training import inference, student_measures, teacher_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import workers_of


def ensure_teachers(spec: Spec, context: TrainingContext, say: Callable[[str], None]) -> list[Teacher]:
    """Return the spec's teacher and its further teachers, whose outputs only are compared; see `ensure_teacher`."""
    further = [spec.model_copy(update={"teacher": teacher}) for teacher in spec.more_teachers]
    for other in filter(is_foreign, further):  # an error in one is raised before another is trained
        read_foreign(other, context)
    first = ensure_teacher(spec, context, say)
    return [first, *(ensure_teacher(other, context, say, is_compared=False) for other in further)]


def as_one(teachers: Sequence[Teacher], context: TrainingContext) -> Teacher:
    """Return several teachers as one, with the measures of their average; a single teacher is returned unchanged."""
    if len(teachers) == 1:
        return teachers[0]
    costs = {**cost.size(context.teacher), **cost.macs(context.teacher, context.signature)}
    sizes = {**costs, **student_measures.network_measures(context.teacher, context)}
    address = files.content_address(kind="teachers", addresses=[teacher.address for teacher in teachers])
    return replace(
        teachers[0],
        address=address,
        measures={**inference.values_of(context.built_task, teacher_contributions(context), context.measures), **sizes},
    )


def ensure_teacher(spec: Spec, context: TrainingContext, say: Callable[[str], None], *, is_compared: bool = True) -> Teacher:
    """Return the spec's teacher: read from its path, reused from the storage, or trained on Ray Train.

    If `is_compared`, its layers are compared with those of students, and that is checked first.
    """
    made = _found_teacher if is_foreign(spec) else _trained_teacher
    teacher = _completed(made(spec, context, say, check_pairs if is_compared else _no_pairs), context)
    _check_strength(spec, context, teacher)
    return teacher


def _completed(teacher: Teacher, context: TrainingContext) -> Teacher:
    """Return a teacher, measured again if a measure is the user's own, because its code may have changed."""
    own = {measure.name for measure in context.measures} - set(plugins.names("measures"))
    if not own and all(measure.name in teacher.measures for measure in context.built_task.measures):
        return teacher
    return replace(teacher, measures=_measures(checkpoint.read(teacher.directory, EVERYTHING)[0], context))


def is_foreign(spec: Spec) -> bool:
    """Return whether the spec's teacher is read from somewhere instead of trained."""
    return spec.teacher.path is not None or spec.teacher.weights is not None


def _no_pairs(_spec: Spec, _classroom: TrainingContext, _teacher: nn.Module) -> None:
    """Check nothing: the layers of a further teacher are not compared."""


PairCheck = Callable[[Spec, TrainingContext, nn.Module], None]


def _trained_teacher(spec: Spec, context: TrainingContext, say: Callable[[str], None], check: PairCheck) -> Teacher:
    assert spec.teacher.model is not None, "a teacher that is trained has a model"
    blank = checkpoint.blank(context.architecture(spec.teacher.model))
    check_half_size(spec.teacher, blank, context)
    check(spec, context, blank)
    address = identity.teacher_address(spec, spec.teacher, context.fingerprint)
    with lease_in_turn(open_storage(spec.storage), key_of(address), say, f"the same teacher, {address}"):
        kept = stored_teacher(spec, address)
        if kept is not None:
            say(f"teacher {address} is in the storage already")
            return kept
        return _new_teacher(spec, context, address, say)


def _new_teacher(spec: Spec, context: TrainingContext, address: str, say: Callable[[str], None]) -> Teacher:
    """Train a teacher that the storage does not have, or use that of its source, or a trained model, unchanged."""
    source = _source_teacher(spec, context, say) if spec.teacher.source else None
    if spec.teacher.epochs == 0:
        return _as_built(spec, context, address) if source is None else _unchanged_source(spec, context, source, address)
    check_labelled(context)
    say(f"training the teacher, {spec.teacher.epochs} epochs")
    return _train(spec, context, spec.teacher, address, source, say)


def check_labelled(context: TrainingContext) -> None:
    """Raise `InputError` for training data without a label, on which no teacher can be trained."""
    if not context.splits["train"].num_labelled:
        raise InputError(
            "no training example has a label, so no teacher can be trained on them. Give a trained teacher (teacher.path), "
            "or a teacher.source with teacher.epochs: 0."
        )


def _as_built(spec: Spec, context: TrainingContext, address: str) -> Teacher:
    """Store the teacher as its model plugin builds it, which is trained already; a spec with another one is an error."""
    assert spec.teacher.model is not None
    architecture = context.architecture(spec.teacher.model)
    model = checkpoint.seeded(architecture, context.seed).eval()
    measures = _measures(model, context)
    directory = store_teacher(spec, address, model, architecture, {"measures": measures, "curve": [], "source": None})
    return Teacher(directory=directory, address=address, measures=measures)


def _unchanged_source(spec: Spec, context: TrainingContext, source: Teacher, address: str) -> Teacher:
    """Store the teacher of the source with outputs in the data's classes; `InputError` if it lacks one."""
    model, architecture = checkpoint.read(source.directory, EVERYTHING)
    model, architecture = external_teacher.in_classes_of(model, architecture, context.signature)
    measures = _measures(model, context)
    about: dict[str, Any] = {"measures": measures, "curve": source.curve, "source": _of_source(spec, source)}
    directory = store_teacher(spec, address, model, architecture, about)
    return Teacher(directory=directory, address=address, measures=measures, source=about["source"])


def _of_source(spec: Spec, source: Teacher | None) -> dict[str, Any] | None:
    if source is None or spec.teacher.source is None:
        return None
    return {"data": plugins.described(spec.teacher.source.data), "quality": source.measures[spec.primary.name]}


def _source_teacher(spec: Spec, context: TrainingContext, say: Callable[[str], None]) -> Teacher:
    """Return the teacher after its training on the source data, before it is fine-tuned."""
    source = spec.teacher.source
    assert source is not None
    elsewhere = source_context(context, source)
    changes = {"epochs": source.epochs, "learning_rate": source.learning_rate or spec.teacher.learning_rate, "source": None}
    recipe = spec.teacher.model_copy(update=changes)
    address = identity.teacher_address(spec, recipe, elsewhere.fingerprint, kind="source", data=source.data)
    with lease_in_turn(open_storage(spec.storage), key_of(address), say, f"the same source teacher, {address}"):
        kept = stored_teacher(spec, address)
        if kept is not None:
            return kept
        say(f"training the teacher on its source, {source.epochs} epochs")
        return _train(spec, elsewhere, recipe, address, None, say)


def source_context(context: TrainingContext, source: SourceConfig) -> TrainingContext:
    """Return the context with the source's data; texts are read with the vocabulary of the sweep's data.

    Raises `InputError` for examples of other shapes, and for texts of a source that has a vocabulary of its own.
    """
    inputs = context.signature.inputs
    own = inputs if any(one.kind == "tokens" for one in inputs) else ()  # a word is a number, which must stay the same word
    elsewhere = replace(context, data=located_data(source.data, [Path.cwd()]), inputs=own)
    here, there = (", ".join(str(spec.shape) for spec in one.signature.inputs) for one in (context, elsewhere))
    if here != there:
        raise InputError(f"teacher.source: its examples have shape {there}, the data's {here}. They must be equal.")
    for one, wanted in zip(elsewhere.signature.inputs, inputs, strict=True):
        if (difference := vocabulary_difference(one, wanted)) is not None:
            raise InputError(
                f"teacher.source: a teacher of its texts {difference} Give its data plugin a function `read_as`, which reads "
                "texts with a given vocabulary."
            )
    return elsewhere


def _train(
    spec: Spec,
    context: TrainingContext,
    recipe: TeacherConfig,
    address: str,
    source: Teacher | None,
    say: Callable[[str], None],
) -> Teacher:
    """Train a teacher on Ray Train, starting from the teacher of its source if there is one, and store it."""
    assert recipe.model is not None
    workers = workers_of(spec.resources.teacher)
    job = teacher_jobs.TeacherJob(
        context=context, model=recipe.model, recipe=recipe, address=address,
        storage=open_storage(spec.storage), start=source.key if source else None, execution=recipe.execution,
    )  # fmt: skip
    trained = teacher_jobs.train_teacher(job, workers)
    if trained.timed_ms:
        say(_timed(trained))
    measures = _measures(trained.model, context)
    about: dict[str, Any] = {
        "measures": measures, "curve": trained.curve, "execution": trained.execution.model_dump(),
        "source": _of_source(spec, source),
    }  # fmt: skip
    directory = store_teacher(spec, address, trained.model, context.architecture(recipe.model), about)
    return Teacher(directory=directory, address=address, measures=measures, curve=tuple(trained.curve), source=about["source"])


def _timed(teacher: teacher_jobs.TrainedTeacher) -> str:
    modes = ", ".join(f"{name} {ms:.1f} ms" for name, ms in teacher.timed_ms.items())
    chosen = [name for name, is_on in teacher.execution.model_dump().items() if is_on]
    return f"execution modes: {modes} a step; chosen: {' and '.join(chosen) or 'plain'}"


def read_foreign(spec: Spec, context: TrainingContext) -> tuple[nn.Module, dict[str, Any]]:
    """Return the spec's teacher that is not trained here, and its architecture; raises the errors of `read_teacher`."""
    blank = context.architecture(spec.teacher.model or "")
    return external_teacher.read_teacher(spec.teacher, blank, context.splits["train"], tracking_uri(spec), spec.own_code())


def _found_teacher(spec: Spec, context: TrainingContext, say: Callable[[str], None], check: PairCheck) -> Teacher:
    """Read a teacher that is not trained here, measure it on the data, and store a copy of it."""
    model, architecture = read_foreign(spec, context)
    check(spec, context, model)
    digest = hashlib.sha256(save(weights_of(model))).hexdigest()
    address = files.content_address(kind="teacher", weights=digest, architecture=architecture)
    measures = _measures(model, context)
    with lease_in_turn(open_storage(spec.storage), key_of(address), say, f"the same teacher, {address}"):
        if stored_teacher(spec, address) is None:  # a stored one is the same, and may be in use
            store_teacher(spec, address, model, architecture, {"measures": measures, "curve": []})
    say(f"teacher {address} was read from {spec.teacher.path or spec.teacher.weights}")
    if "columns" in architecture:
        columns = architecture["columns"]
        say(f"only the data's {len(columns['taken'])} classes of the teacher's {len(columns['of'])} are used")
    return Teacher(directory=place_of(spec, address), address=address, measures=measures, reused=True)


def _check_strength(spec: Spec, context: TrainingContext, teacher: Teacher) -> None:
    """Raise `WorkFailed` for a teacher that is worse than a simple model, or than the spec requires."""
    if spec.teacher.accept_weak:
        return
    primary, required = context.built_task.measures[0], spec.teacher.required_quality
    reached, which = teacher.measures[primary.name], "teacher.required_quality is"
    if required is None:
        required = context.built_task.baseline(context.splits["train"], context.splits["validation"])
        which = "a simple model reaches"
    if primary.is_better(required, reached):
        raise WorkFailed(
            f"the teacher is weak: its {primary.label} on validation is {primary.text(reached)}, and {which} "
            f"{primary.text(required)}. Train it longer (teacher.epochs), use another model, or accept it with "
            "teacher.accept_weak: true."
        )


def _measures(model: nn.Module, context: TrainingContext) -> dict[str, float]:
    measures = inference.measured(model, context.built_task, context.splits["validation"], context.measures)
    sizes = {**cost.size(model), **cost.macs(model, context.signature)}
    return {**measures, **sizes, **student_measures.network_measures(model, context)}


def teacher_contributions(context: TrainingContext) -> inference.Contributions:
    """Return the contributions of the validation examples to the teacher's measures, from cached knowledge or live."""
    validation, found = context.splits["validation"], dict[str, Any]()
    for rows in torch.arange(len(validation)).split(512):
        batch = validation.take(rows)
        parts = context.teacher_parts(rows, batch)
        assert parts is not None
        values = inference.evaluated(context.built_task, sequences_from(parts), batch, context.measures)
        inference.gather(found, values, rows, len(validation))
    return found
