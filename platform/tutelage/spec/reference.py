"""The settings of a config as people read them: name, allowed values, default and meaning of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from tutelage import plugins
from tutelage.spec.sections import DistillationConfig, SparsityConfig, StudentConfig
from tutelage.spec.spec import Spec
from tutelage.validation import BOOLEAN

_TYPES = {
    "boolean": BOOLEAN, "integer": "whole number", "number": "number", "string": "word", "object": "mapping", "null": "null",
}  # fmt: skip
_SEARCHED: dict[str, type[BaseModel]] = {
    "student": StudentConfig, "distillation": DistillationConfig, "sparsity": SparsityConfig
}  # fmt: skip


class Setting(NamedTuple):
    """One setting: its dotted name, the values that it takes, its default as YAML ("required" without one), its meaning."""

    name: str
    values: str
    default: str
    meaning: str


def settings(config: type[BaseModel]) -> list[Setting]:
    """Return the settings of a config in the order of its fields, those of a section within it by dotted names."""
    schema = config.model_json_schema()
    return list(_settings(schema, schema.get("$defs", {}), ""))


def spec_settings() -> list[Setting]:
    """Return every setting of a spec, section by section."""
    found = settings(Spec)
    for section, config in _SEARCHED.items():
        at = next(number for number, one in enumerate(found) if one.name == section)
        found[at : at + 1] = [one._replace(name=f"{section}.{one.name}") for one in settings(config)]
    return found


def option_rows(family: str, name: str) -> list[dict[str, str]]:
    """Return a plugin's options, with the range that the word `search` stands for ("" without one).

    Raises `InputError` as `plugins.load` does. A measure has no options.
    """
    plugin = plugins.load(family, name)
    searched = {option: _yaml(values) for option, values in (getattr(plugin, "SPACE", None) or {}).items()}
    return [
        {
            "option": one.name,
            "values": one.values,
            "default": one.default,
            "searched": searched.get(one.name, ""),
            "meaning": one.meaning,
        }
        for one in settings(plugin.Config)
    ]


def _settings(schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    required = schema.get("required", ())
    for key, field in schema.get("properties", {}).items():
        inner = _section(field, definitions)
        if inner is None or inner is schema:
            yield Setting(prefix + key, _values(field), _default(field, key in required), field.get("description", ""))
            continue
        if "description" in field:
            yield Setting(prefix + key, _values(field), _default(field, key in required), field["description"])
        yield from _settings(inner, definitions, f"{prefix}{key}.")


def _default(field: Mapping[str, Any], is_required: bool) -> str:
    if is_required:
        return "required"
    return _yaml(field["default"]) if "default" in field else "empty"


def _section(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the section that a field is, also where it may be null or a list of them is None."""
    for one in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in one:
            found: Mapping[str, Any] = definitions[one["$ref"].rsplit("/", 1)[-1]]
            return found if "properties" in found else None
    return None


def _values(field: Mapping[str, Any]) -> str:
    if "$ref" in field or "allOf" in field:
        return "section"
    if alternatives := list(_alternatives(field)):
        if any(one.get("enum") == plugins.names("measures") for one in alternatives):
            return "measure"
        if {"string", "object"} <= {one.get("type") for one in alternatives}:
            alternatives = [{"title": "plugin"}, *(one for one in alternatives if one.get("type") not in ("string", "object"))]
        return " or ".join(dict.fromkeys(map(_values, alternatives)))
    if "enum" in field or "const" in field:
        allowed = list(map(str, field.get("enum", [field.get("const")])))
        return ", ".join(allowed if all(one.isidentifier() for one in allowed) else map(repr, allowed))
    if field.get("type") == "array":
        return f"list of {_values(field['items'])}s" if "items" in field else "list"
    return f"{_TYPES.get(field.get('type', ''), field.get('title', 'value'))} {_bounds(field)}".strip()


def _alternatives(field: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in field.get("anyOf", ()):
        yield from _alternatives(one) if "anyOf" in one else (one,)


def _bounds(field: Mapping[str, Any]) -> str:
    """Return the bounds of a number as text, such as "1 to 64" or "> 0, ≤ 10"."""
    if "minimum" in field and "maximum" in field:
        return f"{_number(field['minimum'])} to {_number(field['maximum'])}"
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    return ", ".join(f"{sign} {_number(field[bound])}" for bound, sign in signs.items() if bound in field)


def _number(value: float) -> str:
    return f"{value:.10g}"


def _yaml(value: Any) -> str:
    """Return a value as it stands in a spec, on one line."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace('"', "") if isinstance(value, str | dict | list) else text
