"""The check, before anything is trained, that the networks of a sweep can be trained, saved and exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from torch import nn

from tutelage import plugins
from tutelage.errors import InputError, TutelageError, WorkFailed
from tutelage.networks import checkpoint, forward, stages
from tutelage.networks.output import Outline
from tutelage.networks.program import program_of
from tutelage.networks.weights import shared_names, weights_of
from tutelage.sparsity import Point
from tutelage.spec.domains import any_value
from tutelage.spec.sections import TrialConfig
from tutelage.spec.spec import Spec
from tutelage.training import latency, rehearsal, student, student_sizes
from tutelage.training.context import TrainingContext
from tutelage.training.plan import TrainingPlan

DRAWS = 64  # random students of a model that are tried until one can be built
MAX_REHEARSED = 6  # students of models of the user's own
SHRUNK = 0.5  # the share that a method is tried with where a student loses less


@dataclass(frozen=True, kw_only=True)
class Buildable:
    """A student of the search that can be built and run: its config, its network on the meta device, and the outline."""

    config: TrialConfig
    network: nn.Module
    outline: Outline


@forward.contained()
def check_students(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError` for a model of which no student works, and for one of the user's own that would fail later.

    Students of the user's own models are trained for a few steps, made smaller, saved, read and exported (`rehearsal`).
    """
    own = [one.config for one in buildable(spec, context) if plugins.own_code(_code(one.config))]
    distinct = {json.dumps([one.student.model, one.sparsity.model_dump()], sort_keys=True): one for one in own}
    chosen = list(distinct.values())[:MAX_REHEARSED]
    exported = {_name(one): one for one in chosen}  # of each model, the last one
    for config in chosen:
        plan, described = student.plan(config, context, spec.seed), partial(student.architecture_of, config, context)
        _rehearse(config.student.model, context, plan, described, is_exported=exported[_name(config)] is config)
    for teacher in (spec.teacher, *spec.more_teachers):
        if teacher.model is not None and teacher.weights is None and plugins.own_code(teacher.model):
            plan, architecture = student.label_only_plan(teacher, context), context.architecture(teacher.model)
            _rehearse(teacher.model, context, plan, lambda _point, own=architecture: own)  # type: ignore[misc]


@forward.contained()
def check_sparsity(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError` for a sparsity method of the search that can make none of its students smaller, with the reason.

    A search with dense students among them runs: the others are then recorded as infeasible.
    """
    corners = [spec.trial_config(config) for config in spec.space.corners()]
    errors, able = dict[str, InputError](), set[str]()
    for config in corners if all(one.sparsity.amount for one in corners) else ():
        method = _method(config)
        if method not in able and (error := _cannot_shrink(config, context)):
            errors.setdefault(method, error)
        else:
            able.add(method)
    for method in errors.keys() - able:
        if all(_cannot_shrink(config, context) for config in _drawn(spec, _method, method)):
            raise errors[method]


def _cannot_shrink(config: TrialConfig, context: TrainingContext) -> InputError | None:
    """Return why the config's sparsity method can remove nothing from its student; None if it can."""
    changes = {"amount": max(config.sparsity.amount, SHRUNK), "ladder": None}  # a small share may round to nothing
    shrunk = config.model_copy(update={"sparsity": config.sparsity.model_copy(update=changes)})
    try:
        student_sizes.presize(student.with_random_weights(shrunk), context)
    except InputError as error:
        return _naming(config.student.model, error)
    return None


def check_latency(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError` for a command of `resources.latency` that gives no latency of one untrained student."""
    latency.check(context.latency)
    if context.latency.command:
        config = buildable(spec, context)[0].config
        network = checkpoint.seeded(context.architecture(config.student.model), spec.seed)
        try:
            latency.latencies_ms({"an untrained student": network}, context)
        except WorkFailed as error:
            raise InputError(f"{error} It was tried with an untrained student, before the search.") from error


def _rehearse(
    model: plugins.Reference, context: TrainingContext, plan: TrainingPlan,
    described: Callable[[Point], Mapping[str, Any]], *, is_exported: bool = False,
) -> None:  # fmt: skip
    try:
        network = rehearsal.rehearse(context.architecture(model), plan, described)
        if is_exported:
            _check_export(network, context)
    except TutelageError as error:
        raise _naming(model, error) from error


def _check_export(network: nn.Module, context: TrainingContext) -> None:
    """Raise `InputError` or `WorkFailed` for a network that cannot be exported, or whose program has other weights."""
    names = set(program_of(network, context.signature).module().state_dict())
    saved = {*weights_of(network), *shared_names(network)}
    if odd := names ^ saved:
        raise InputError(f"the exported program and the saved weights differ: only one of them has {', '.join(sorted(odd))}.")


def _naming(model: plugins.Reference, error: TutelageError) -> InputError:
    """Return the error with the name and the options of its model."""
    named = f"model '{plugins.described(model)}'"
    return InputError(str(error) if str(error).startswith("model '") else f"{named}: {error}")


def buildable(spec: Spec, context: TrainingContext) -> list[Buildable]:
    """Return the corners of the search space whose students can be built and run.

    Of a model without such a corner, random students are tried. Raises `InputError` if none of these works either, and for a
    layer of `student.layers` that a student lacks.
    """
    found, errors = list[Buildable](), dict[str, InputError]()
    for config in map(spec.trial_config, spec.space.corners()):
        one = _built(config, context)
        if isinstance(one, Buildable):
            found.append(one)
        else:
            errors.setdefault(_name(config), one)
    for name in errors.keys() - {_name(one.config) for one in found}:
        drawn = (_built(config, context) for config in _drawn(spec, _name, name))
        works = next((one for one in drawn if isinstance(one, Buildable)), None)
        if works is None:
            raise errors[name]
        found.append(works)
    return found


def _drawn(spec: Spec, name_of: Callable[[TrialConfig], str], name: str) -> Iterator[TrialConfig]:
    """Give random students of a model or a sparsity method."""
    generator = Random(spec.seed)
    for _ in range(DRAWS):
        config = spec.trial_config(spec.space.resolve(lambda _, domain: any_value(generator, domain))[0])
        if name_of(config) == name:
            yield config


def _built(config: TrialConfig, context: TrainingContext) -> Buildable | InputError:
    try:
        network = student.blank(config, context)
        if why := getattr(network, "why_not_exported", ""):
            raise InputError(why)
        outline = stages.outline_of(network, context.signature)
        context.check_steps(outline)
        context.check_examples(network)
        if plugins.own_code(_code(config)):
            student_sizes.presize(student.with_random_weights(config), context)
    except InputError as error:
        return _naming(config.student.model, error)
    if config.student.layers is not None:
        outline = stages.outline_of(stages.name_layers(network, config.student.layers), context.signature)
    return Buildable(config=config, network=network, outline=outline)


def _code(config: TrialConfig) -> list[Any]:
    """Return the references by which a student's network and its sparsity method are named."""
    return [config.student.model, config.sparsity.method]


def _name(config: TrialConfig) -> str:
    return plugins.parse_reference(config.student.model)[0]


def _method(config: TrialConfig) -> str:
    return plugins.parse_reference(config.sparsity.method)[0]
