"""A student's sizes before it is trained, and whether any student can meet the bounds on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from random import Random
from typing import Any

from tutelage.errors import InputError, NoStudentFits
from tutelage.records.trial import Sizes
from tutelage.search.first_trials import extreme, resolved
from tutelage.spec.domains import Domain, any_value
from tutelage.spec.spec import Spec
from tutelage.training import student_sizes
from tutelage.training.context import TrainingContext

SIZED = 32  # random students that are sized before the constraints are called infeasible


def presize(spec: Spec, context: TrainingContext, config: dict[str, Any]) -> Sizes:
    """Return the sizes of a config's student before it is trained.

    They include a latency only if the constraints bound it and the student certainly violates the bound.
    """
    typed = spec.trial_config(config)
    sizes, bound = student_sizes.presize(typed, context), spec.search.constraints.max.get("latency_ms")
    if bound is None or spec.resources.trial.gpus or not context.latency.is_here:
        return sizes
    floor_ms = student_sizes.latency_floor_ms(typed, context)
    return replace(sizes, final={**sizes.final, "latency_ms": floor_ms}) if floor_ms > bound else sizes


def remembering(sizes_of: Callable[[dict[str, Any]], Sizes]) -> Callable[[dict[str, Any]], Sizes]:
    """Return the function with a cache by model, initialisation and sparsity, the settings that change sizes."""
    cached: dict[str, Sizes] = {}

    def remembered(config: dict[str, Any]) -> Sizes:
        about = json.dumps([config["student"]["model"], config["student"]["initialise"], config["sparsity"]], sort_keys=True)
        if about not in cached:
            cached[about] = sizes_of(config)
        return cached[about]

    return remembered


def check_constraints(spec: Spec, context: TrainingContext) -> None:
    """Raise `NoStudentFits` if neither the smallest, the largest nor any of some random students meets the constraints."""
    limits = spec.search.constraints
    if not any(spec.measures[name].available == "before_training" for name in {*limits.max, *limits.min}):
        return
    generator = Random(spec.seed)
    sized: list[dict[str, float]] = []
    for params in chain(_extremes(spec, context), repeat(None, SIZED)):
        config = spec.space.resolve(partial(_given, params) if params else lambda _, domain: any_value(generator, domain))[0]
        try:
            sizes = presize(spec, context, _uninherited(config)).final
        except InputError:  # these values make no network
            continue
        if not limits.missed(sizes):
            return
        sized.append(sizes)
    nearest = min(sized, key=limits.shortfall)
    raise NoStudentFits(
        f"no student of the search space meets {limits.describe()}. Of {len(sized)} students sized before training, the "
        f"smallest included, the nearest has {limits.describe_missed(nearest)}. Loosen search.constraints, or widen the search "
        "space under `student` and `sparsity`."
    )


def _given(params: Mapping[str, Any], name: str, domain: Domain) -> Any:
    return params[name]


def _extremes(spec: Spec, context: TrainingContext) -> list[Mapping[str, Any]]:
    start = resolved(spec.space, spec.default_of, {})
    return [extreme(spec.space, start, partial(initial_params, spec, context), sign) for sign in (1, -1)]


def _uninherited(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with random initial weights: the sizes are the same, and no teacher is needed."""
    return {**config, "student": {**config["student"], "initialise": "random"}}


def initial_params(spec: Spec, context: TrainingContext, config: dict[str, Any]) -> float | None:
    """Return a student's number of parameters before training; None if training decides it, or the values make no network."""
    try:
        return student_sizes.presize(spec.trial_config(_uninherited(config)), context).final.get("params")
    except InputError:
        return None
