"""Objectives and limits as a spec writes them: read, checked one by one, and described to editors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from tutelage import objectives as objectives_module
from tutelage import plugins
from tutelage.errors import InputError, nearest
from tutelage.measure import Direction, Measure
from tutelage.objectives import Limits, Objective
from tutelage.validation import Finding, unknown_key

Measures = Mapping[str, Measure]  # by name


def as_objectives(value: Any, measures: Measures) -> tuple[Objective, ...]:
    """Return a list of measures, each a name or a mapping, as objectives; `ValueError` for what is none."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("objectives are a list of at least one measure, such as [accuracy, params].")
    found = tuple(_as_objective(item, measures) for item in value)
    if len({o.name for o in found}) < len(found):
        raise ValueError("an objective is listed twice.")
    return found


def _as_objective(item: Any, measures: Measures) -> Objective:
    if isinstance(item, Objective):
        return item
    fields = {"name": item} if isinstance(item, str) else item
    if not isinstance(fields, Mapping) or "name" not in fields or set(fields) - {"name", "direction", "reference"}:
        raise ValueError(f"{item!r} is no objective. Write a measure's name, or {{name:, direction:, reference:}}.")
    name = str(fields["name"])
    measure = _measure(name, measures)
    direction = fields.get("direction", measure.direction)
    if direction not in ("maximise", "minimise"):
        raise ValueError(f"direction '{direction}' is neither maximise nor minimise.")
    reference = measure.reference if fields.get("reference") is None else _quantity(fields["reference"])
    directed = dataclasses.replace(measure, direction=cast(Direction, direction))
    return Objective(measure=directed, reference=reference, spelling=name if ":" in name else "")


def _measure(name: str, measures: Measures) -> Measure:
    if ":" in name:
        try:
            return plugins.measure(name)
        except InputError as error:
            raise ValueError(str(error)) from None
    if name not in measures:
        raise ValueError(_no_measure(name, measures))
    return measures[name]


def _no_measure(name: Any, known: Measures) -> str:
    return f"no measure '{name}'.{nearest(str(name), known)} Known: {', '.join(known)}, or your own as 'module:Name'."


def _quantity(value: Any) -> float:
    try:
        return objectives_module.parse_quantity(value)
    except InputError as error:
        raise ValueError(str(error)) from None


def as_limits(value: Any, measures: Measures | None = None) -> Limits:
    """Return `{max: {measure: bound}, min: {…}}` as limits; `ValueError` for what is no quantity, or not in `measures`."""
    if isinstance(value, Limits):
        return value
    if not isinstance(value, Mapping) or set(value) - {"max", "min"}:
        raise ValueError("limits are written {max: {params: 20k}, min: {accuracy: 0.9}}.")
    return Limits(**{side: _bounds(bounds or {}, measures) for side, bounds in value.items()})


def _bounds(value: Any, measures: Measures | None) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError("bounds are written {measure: value}.")
    if measures is not None and (unknown := [name for name in value if name not in measures]):
        raise ValueError(_no_measure(unknown[0], measures))
    return {name: _quantity(bound) for name, bound in value.items()}


def objective_problems(items: Any, at: tuple[str, ...], measures: Measures) -> Iterator[Finding]:
    """Give what is wrong with each objective of a list, at its own place."""
    for i, item in enumerate(items if isinstance(items, list) else []):
        try:
            _as_objective(item, measures)
        except ValueError as error:
            yield (*at, str(i)), item, str(error)


def limit_problems(limits: Any, at: tuple[str, ...], measures: Measures) -> Iterator[Finding]:
    """Give what is wrong with each bound under `max` and `min`, at its own place."""
    for side, bounds in limits.items() if isinstance(limits, Mapping) else ():
        if side not in ("max", "min"):
            yield (*at, str(side)), bounds, unknown_key(str(side), ("max", "min"))
            continue
        for name, bound in bounds.items() if isinstance(bounds, Mapping) else ():
            try:
                as_limits({side: {name: bound}}, measures)
            except ValueError as error:
                yield (*at, side, str(name)), bound, str(error)


def _known(info: ValidationInfo) -> Measures:
    """Return the measures that the spec may name, as `loading` gives them; without these, the package's own."""
    ours = {name: plugins.measure(name) for name in plugins.names("measures")}
    known: Measures = (info.context or {}).get("measures", ours)
    return known


_NAME_SCHEMA = {"anyOf": [{"enum": plugins.names("measures")}, {"type": "string"}]}  # a task has measures of its own

_BOUNDS_SCHEMA = {
    "type": "object",
    "propertyNames": _NAME_SCHEMA,
    "additionalProperties": {"type": ["number", "string"]},
}

LimitsField = Annotated[
    Any,
    BeforeValidator(lambda value, info: as_limits(value, _known(info))),
    PlainSerializer(lambda limits: {"max": dict(limits.max), "min": dict(limits.min)}),
    WithJsonSchema(
        {"type": "object", "properties": {"max": _BOUNDS_SCHEMA, "min": _BOUNDS_SCHEMA}, "additionalProperties": False}
    ),
]

_OBJECTIVE_SCHEMA = {
    "anyOf": [
        _NAME_SCHEMA,
        {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": _NAME_SCHEMA,
                "direction": {"enum": ["maximise", "minimise"]},
                "reference": {"type": ["number", "string", "null"]},
            },
        },
    ]
}


def _written(objective: Objective) -> dict[str, Any]:
    name = objective.spelling or objective.name
    return {"name": name, "direction": objective.direction, "reference": objective.reference}


ObjectivesField = Annotated[
    tuple[Objective, ...],
    BeforeValidator(lambda value, info: as_objectives(value, _known(info))),
    PlainSerializer(lambda objectives: [_written(objective) for objective in objectives]),
    WithJsonSchema({"type": "array", "minItems": 1, "items": _OBJECTIVE_SCHEMA}),
]
