"""Pydantic's errors in plain words: which setting is wrong, its value, why it is wrong, and the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tutelage.errors import nearest

Finding = tuple[tuple[str, ...], Any, str]  # path, value given, why with the way out
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def findings(error: ValidationError, model: type[BaseModel], at: tuple[str, ...] = ()) -> list[Finding]:
    """Return the findings of `error` about the input of `model`; their paths start with `at`."""
    found = []
    for issue in error.errors(include_url=False):
        path = tuple(str(part) for part in issue["loc"])
        given = None if issue["type"] == "missing" else issue["input"]
        found.append((at + path, given, _why(issue, model, path)))
    return found


def _why(issue: Any, model: type[BaseModel], path: tuple[str, ...]) -> str:
    kind = issue["type"]
    if kind == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        return "unknown key." if owner is None else unknown_key(path[-1], list(owner.model_fields))
    if kind == "missing":
        return "is missing. Add it."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", issue["ctx"]["expected"])
        return f"is none of {', '.join(allowed)}.{nearest(str(issue['input']), allowed)}"
    if kind in ("model_type", "dict_type"):
        return "must be a mapping of settings. Leave the key out for the defaults."
    message = str(issue["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{message}{_range(model, path) if kind in _OUT_OF_RANGE else ''}."


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return the message for a key that is not among the keys `known`, with the nearest of them."""
    return f"unknown key.{nearest(key, known)} Known here: {', '.join(known)}."


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    for part in path:
        if part.isdigit():  # an index of a list: its items have the list's model
            continue
        field = model.model_fields.get(part)
        inner = _model_of(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model of an annotation `Model` or `Model | None`; None for several models or no model."""
    options = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and issubclass(part, BaseModel)]
    return options[0] if len(options) == 1 else None


def _range(model: type[BaseModel], path: Sequence[str]) -> str:
    owner = _model_at(model, path[:-1])
    field: FieldInfo | None = owner.model_fields.get(path[-1]) if owner and path else None
    bounds = [
        f"{word} {getattr(limit, name):,g}"
        for limit in (field.metadata if field else [])
        for name, word in _BOUNDS.items()
        if hasattr(limit, name)
    ]
    return f"; allowed is {' and '.join(bounds)}" if bounds else ""
