"""Objectives and limits as a spec writes them: read, checked one by one, and described to editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from tutelage import objectives as objectives_module
from tutelage.errors import InputError, nearest
from tutelage.objectives import Limits, Objective
from tutelage.validation import Raw, unknown_key

MEASURES = (*objectives_module.KNOWN, "agreement", "teacher_kl_nats", "latency_p90_ms")


def as_objectives(value: Any) -> tuple[Objective, ...]:
    """Return a list of measures, each a name or a mapping, as objectives; `ValueError` for what is none."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("objectives are a list of at least one measure, such as [accuracy, params].")
    found = tuple(_as_objective(item) for item in value)
    if len({o.name for o in found}) < len(found):
        raise ValueError("an objective stands twice.")
    return found


def _as_objective(item: Any) -> Objective:
    if isinstance(item, Objective):
        return item
    fields = {"name": item} if isinstance(item, str) else item
    if not isinstance(fields, Mapping) or "name" not in fields or set(fields) - {"name", "direction", "unit", "reference"}:
        raise ValueError(f"{item!r} is no objective. Write a measure's name, or {{name:, direction:, reference:}}.")
    known = objectives_module.KNOWN.get(str(fields["name"]))
    if known is None:
        raise ValueError(_no_measure(fields["name"], objectives_module.KNOWN))
    direction = fields.get("direction", known.direction)
    if direction not in ("maximise", "minimise"):
        raise ValueError(f"direction '{direction}' is neither maximise nor minimise.")
    reference = fields.get("reference")
    if reference is not None:
        reference = _quantity(reference)
    return Objective(
        name=known.name,
        direction="maximise" if direction == "maximise" else "minimise",
        unit=known.unit,
        reference=known.reference if reference is None else reference,
    )


def _no_measure(name: Any, known: Any) -> str:
    return f"no measure '{name}'.{nearest(str(name), known)} Known: {', '.join(known)}."


def _quantity(value: Any) -> float:
    try:
        return objectives_module.parse_quantity(value)
    except InputError as error:
        raise ValueError(str(error)) from None


def as_limits(value: Any) -> Limits:
    """Return `{max: {measure: bound}, min: {…}}` as limits; `ValueError` for an unknown measure or no quantity."""
    if isinstance(value, Limits):
        return value
    if not isinstance(value, Mapping) or set(value) - {"max", "min"}:
        raise ValueError("limits are written {max: {params: 20k}, min: {accuracy: 0.9}}.")
    return Limits(**{side: _bounds(bounds or {}) for side, bounds in value.items()})


def _bounds(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError("bounds are written {measure: value}.")
    if unknown := [name for name in value if name not in MEASURES]:
        raise ValueError(_no_measure(unknown[0], MEASURES))
    return {name: _quantity(bound) for name, bound in value.items()}


def objective_problems(items: Any, at: tuple[str, ...]) -> Iterator[Raw]:
    """Give what is wrong with each objective of a list, at its own place."""
    for i, item in enumerate(items if isinstance(items, list) else []):
        try:
            _as_objective(item)
        except ValueError as error:
            yield (*at, str(i)), item, str(error)


def limit_problems(limits: Any, at: tuple[str, ...]) -> Iterator[Raw]:
    """Give what is wrong with each bound under `max` and `min`, at its own place."""
    for side, bounds in limits.items() if isinstance(limits, Mapping) else ():
        if side not in ("max", "min"):
            yield (*at, str(side)), bounds, unknown_key(str(side), ("max", "min"))
            continue
        for name, bound in bounds.items() if isinstance(bounds, Mapping) else ():
            try:
                as_limits({side: {name: bound}})
            except ValueError as error:
                yield (*at, side, str(name)), bound, str(error)


_BOUNDS_SCHEMA = {
    "type": "object",
    "propertyNames": {"enum": list(MEASURES)},
    "additionalProperties": {"type": ["number", "string"]},
}


LimitsField = Annotated[
    Any,
    BeforeValidator(as_limits),
    PlainSerializer(lambda limits: {"max": dict(limits.max), "min": dict(limits.min)}),
    WithJsonSchema(
        {"type": "object", "properties": {"max": _BOUNDS_SCHEMA, "min": _BOUNDS_SCHEMA}, "additionalProperties": False}
    ),
]


_OBJECTIVE_SCHEMA = {
    "anyOf": [
        {"enum": list(objectives_module.KNOWN)},
        {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"enum": list(objectives_module.KNOWN)},
                "direction": {"enum": ["maximise", "minimise"]},
                "unit": {"type": "string"},
                "reference": {"type": ["number", "string", "null"]},
            },
        },
    ]
}


ObjectivesField = Annotated[
    tuple[Objective, ...],
    BeforeValidator(as_objectives),
    WithJsonSchema({"type": "array", "minItems": 1, "items": _OBJECTIVE_SCHEMA}),
]
