"""The spec's JSON schema, for editors; `tutelage schema` prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage import plugins
from tutelage.spec.sections import DistillationConfig, SparsityConfig, StudentConfig
from tutelage.spec.spec import PLUGGED, Spec

_PAIR = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
_OPTIONS = {"log": {"type": "boolean"}, "step": {"type": "number", "exclusiveMinimum": 0}}


def _distribution() -> dict[str, Any]:
    def ranged(kind: str) -> dict[str, Any]:
        return {
            "type": "object",
            "required": [kind],
            "properties": {kind: _PAIR, **_OPTIONS},
            "additionalProperties": False,
        }

    choice = {"anyOf": [{"type": "array", "minItems": 1}, {"type": "object", "minProperties": 1}]}
    chosen = {"type": "object", "required": ["choice"], "properties": {"choice": choice}, "additionalProperties": False}
    return {"anyOf": [ranged("float"), ranged("int"), chosen, {"const": "search"}]}


def _reference(family: str) -> dict[str, Any]:
    by_name = {"anyOf": [{"enum": plugins.names(family)}, {"type": "string", "pattern": ":"}]}
    return {"anyOf": [by_name, {"type": "object", "minProperties": 1, "maxProperties": 1}]}


def _or_distribution(field: Mapping[str, Any], plain: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of a setting that a distribution may stand for; of its value, `plain` if given."""
    own = plain or {key: value for key, value in field.items() if key not in ("title", "default")}
    return {"description": field.get("description", ""), "anyOf": [own, {"$ref": "#/definitions/distribution"}]}


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 7); where a distribution may stand, it is one of the alternatives."""
    schema = Spec.model_json_schema()
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    schema["definitions"] = {"distribution": _distribution(), **schema.pop("$defs")}
    for name, config in (
        ("student", StudentConfig),
        ("distillation", DistillationConfig),
        ("sparsity", SparsityConfig),
    ):
        section = config.model_json_schema()
        for inner, found in section.pop("$defs", {}).items():
            if inner not in schema["definitions"]:  # only searchable sections have it
                fields = {key: _or_distribution(field) for key, field in found["properties"].items()}
                schema["definitions"][inner] = {**found, "properties": fields}
        for key, field in section["properties"].items():
            family = PLUGGED.get((name, key))
            section["properties"][key] = _or_distribution(field, _reference(family) if family else None)
        schema["properties"][name] = section
    for name, family in (("data", "data"), ("task", "tasks")):
        schema["properties"][name] = {**_reference(family), "description": schema["properties"][name]["description"]}
    select = schema["definitions"]["SelectConfig"]["properties"]
    select["policy"] = {**_reference("policies"), "description": select["policy"]["description"]}
    search = schema["definitions"]["SearchConfig"]["properties"]
    search["sampler"] = {**_reference("samplers"), "default": "tpe", "description": search["sampler"]["description"]}
    stopping = schema["definitions"]["StoppingConfig"]["properties"]
    stopping["rule"] = {**_reference("rules"), "default": "promotion", "description": stopping["rule"]["description"]}
    teacher = schema["definitions"]["TeacherConfig"]["properties"]
    teacher["model"] = {"anyOf": [_reference("models"), {"type": "null"}], "description": teacher["model"]["description"]}
    return _moved(schema)  # type: ignore[no-any-return]


def _moved(node: Any) -> Any:
    """Return the schema with references to `definitions`, draft 7's word, and without what is so by default.

    Some versions of Pydantic write `additionalProperties: true`, others do not.
    """
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if (k, v) != ("additionalProperties", True)}
        return {k: v.replace("#/$defs/", "#/definitions/") if k == "$ref" else _moved(v) for k, v in kept.items()}
    return [_moved(item) for item in node] if isinstance(node, list) else node
