"""Pydantic's errors in plain words: which setting is wrong, its value, why it is wrong, and the way out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tutelage.errors import nearest

Finding = tuple[tuple[str, ...], Any, str]  # path, value given, why with the way out
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
BOOLEAN, WHOLE, NUMBER, WORD = "true or false", "a whole number", "a number", "a word"
TYPES = {
    **dict.fromkeys(("bool_type", "bool_parsing"), BOOLEAN),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), NUMBER),
    "string_type": WORD,
}
_BOOLEANS = {**dict.fromkeys(("yes", "y", "on", "true"), "true"), **dict.fromkeys(("no", "n", "off", "false"), "false")}
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
    if wanted := TYPES.get(kind):
        return f"must be {wanted}.{way_out(issue['input'], wanted)}"
    message = str(issue["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{message}{_range(model, path) if kind in _OUT_OF_RANGE else ''}."


def way_out(value: Any, wanted: str) -> str:
    """Return which YAML to write for a value of another type than `wanted`: " Write true." for the word yes; "" if unknown."""
    if wanted == WORD and isinstance(value, bool | int | float):
        return f' Write it in quotes: "{str(value).lower() if isinstance(value, bool) else value}".'
    if wanted == BOOLEAN and isinstance(value, str) and value.lower() in _BOOLEANS:
        return f" Write {_BOOLEANS[value.lower()]}."
    number = _number_of(value) if wanted in (WHOLE, NUMBER) else None
    if number is None or (wanted == WHOLE and not number.is_integer()):
        return ""
    return f" Write {int(number) if number.is_integer() and abs(number) < 1e15 else number}."


def _number_of(value: Any) -> float | None:
    """Return the number that a person may have meant by a value: of 1_000, 010, 0x10, "3", 1,5 or 50 %."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip().replace("_", "")
    percent = text.endswith("%")
    text = text.removesuffix("%").strip().replace(",", ".")
    try:
        number = float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except (ValueError, OverflowError):
        return None
    return None if not math.isfinite(number) else number / 100 if percent else number


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
