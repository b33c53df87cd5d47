"""A sweep's spec: what it may say, read strictly; every problem of a file is told at once.

Under `student`, `distillation` and `sparsity` a distribution may stand for any value; a spec therefore holds these three as
trees, and `trial_config` checks what a trial resolved them to. At loading, the corners of the space are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from tutelage import plugins, space
from tutelage.errors import InputError, Problem, SpecError, nearest
from tutelage.plugins import Reference
from tutelage.spec_sections import (
    DistillationConfig,
    KnowledgeConfig,
    Resources,
    SearchConfig,
    Section,
    SelectConfig,
    SparsityConfig,
    StudentConfig,
    TeacherConfig,
    TrackingConfig,
    TrialConfig,
    as_limits,
)
from tutelage.spec_yaml import Document, parse_value

SEARCHABLE = ("student", "distillation", "sparsity")
PLUGGED = {("student", "model"): "models", ("distillation", "method"): "losses", ("sparsity", "method"): "sparsity"}
RANGES: dict[tuple[str, str], dict[str, Any]] = {  # what the word `search` stands for
    ("student", "learning_rate"): {"float": [0.0005, 0.02], "log": True},
    ("distillation", "temperature"): {"float": [1.0, 20.0], "log": True},
    ("distillation", "weight"): {"float": [0.0, 1.0]},
    ("sparsity", "structured"): {"float": [0.0, 0.9]},
}


class Spec(Section):
    """A sweep's spec, checked. `student`, `distillation` and `sparsity` may hold distributions."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="the sweep's name")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of every random draw")
    data: Reference = Field(description="a data plugin")
    task: Reference = Field("image_classification", description="a task plugin")
    teacher: TeacherConfig
    knowledge: KnowledgeConfig = KnowledgeConfig()
    student: dict[str, Any]
    distillation: dict[str, Any] = Field(default_factory=dict)
    sparsity: dict[str, Any] = Field(default_factory=dict)
    search: SearchConfig = SearchConfig()
    resources: Resources = Resources()
    select: SelectConfig = SelectConfig()
    storage: str = Field(".tutelage", min_length=1, description="directory that everything a sweep keeps lies under")
    tracking: TrackingConfig = TrackingConfig()

    @cached_property
    def space(self) -> space.Space:
        """The search space: the three searchable sections with their distributions."""
        return space.Space({name: space.parse(getattr(self, name), name) for name in SEARCHABLE})

    def resolved(self) -> dict[str, Any]:
        """Return the whole spec, defaults filled in, as plain YAML values; it loads again to an equal spec."""
        return self.model_dump(mode="json")

    def trial_config(self, config: Mapping[str, Any]) -> TrialConfig:
        """Return a resolved config, typed; `InputError` if a value is out of its range."""
        try:
            return TrialConfig.model_validate(dict(config))
        except ValidationError as error:
            raise InputError("; ".join(why for *_, why in _told(error, TrialConfig))) from None


def load(path: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """Return the spec in a YAML file, `overrides` ("a.b=value") put over it; `SpecError` tells all its problems."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"spec {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    document = Document(text, str(path))
    overridden = [_override(document.tree, override) for override in overrides]
    return _checked(document.tree, str(path), document, overridden)


def from_dict(tree: Mapping[str, Any]) -> Spec:
    """Return the spec that a mapping holds, as the YAML file would."""
    return _checked(_copied(tree), "spec", None, [])


def _copied(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list | tuple) else node


def _override(tree: dict[str, Any], override: str) -> tuple[str, ...]:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise InputError(f"--set {override}: write key=value, such as --set search.trials=50.")
    node: Any = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: '{part}' holds a value, not settings. Set it whole.")
    node[path[-1]] = parse_value(text)
    return path


Raw = tuple[tuple[str, ...], Any, str]  # path, value given, why with the way out


def _checked(tree: dict[str, Any], source: str, document: Document | None, overridden: Sequence[tuple[str, ...]]) -> Spec:
    raw = list(_searchable_problems(tree))
    spec = None
    try:
        spec = Spec.model_validate(tree)
    except ValidationError as error:
        raw += _told(error, Spec)
    raw += _reference_problems(tree)
    if spec is not None:
        raw += _meaning_problems(spec)
    if spec is None or raw:
        raise SpecError(source, [_problem(issue, document, overridden) for issue in _once(raw)])
    return spec


def _once(raw: Sequence[Raw]) -> Iterator[Raw]:
    seen = set()
    for path, value, why in raw:
        if (path, why) not in seen:
            seen.add((path, why))
            yield path, value, why


def _problem(issue: Raw, document: Document | None, overridden: Sequence[tuple[str, ...]]) -> Problem:
    path, value, why = issue
    by_option = any(path[: len(option)] == option for option in overridden)
    line = document.line_of(path) if document and not by_option else None
    return Problem(("--set " if by_option else "") + ".".join(path), line, value, why)


def _told(error: ValidationError, model: type[BaseModel], at: tuple[str, ...] = ()) -> list[Raw]:
    told = []
    for issue in error.errors(include_url=False, include_context=False):
        path = tuple(str(part) for part in issue["loc"])
        told.append((at + path, issue["input"], _why(issue, model, path)))
    return told


def _why(issue: Any, model: type[BaseModel], path: tuple[str, ...]) -> str:
    if issue["type"] == "extra_forbidden":
        fields = _fields_at(model, path[:-1])
        return f"unknown key.{nearest(path[-1], fields)} Known here: {', '.join(fields)}."
    if issue["type"] == "missing":
        return "is missing. Add it."
    return str(issue["msg"]).removeprefix("Value error, ") + ("" if str(issue["msg"]).endswith(".") else ".")


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)


_CONFIGS: dict[str, type[Section]] = {
    "student": StudentConfig,
    "distillation": DistillationConfig,
    "sparsity": SparsityConfig,
}


def _searchable_problems(tree: dict[str, Any]) -> Iterator[Raw]:
    """Fill defaults and `search` words into the three sections of `tree`, and check the corners of their space."""
    for name in SEARCHABLE:
        section = tree.get(name, {})
        if not isinstance(section, dict):
            yield (name,), section, "must be a mapping of settings."
            continue
        fields = _CONFIGS[name].model_fields
        defaults = {key: field.default for key, field in fields.items() if not field.is_required()}
        expanded: dict[str, Any] = {**defaults}
        parsed: dict[str, Any] = {}
        for key, value in section.items():
            try:
                expanded[key] = _expand((name, key), value)
                parsed[key] = space.parse(expanded[key], f"{name}.{key}")
            except space.SpaceError as error:
                yield tuple(error.path.split(".")), error.value, error.why
            except InputError as error:
                yield (name, key), value, str(error)
        if name in tree or name != "student":
            tree[name] = {key: expanded[key] for key in (*fields, *(k for k in expanded if k not in fields)) if key in expanded}
            unclear = {(name, key) for key in section if key not in parsed}
            yield from (p for p in _corner_problems(name, {**defaults, **parsed}) if p[0][:2] not in unclear)


def _corner_problems(name: str, parsed: Mapping[str, Any]) -> Iterator[Raw]:
    for corner in space.Space({name: parsed}).corners():
        try:
            _CONFIGS[name].model_validate(corner[name])
        except ValidationError as error:
            yield from _told(error, _CONFIGS[name], (name,))
        for (section, key), family in PLUGGED.items():
            if section == name and key in corner[name]:
                yield from _plugin_problems(family, corner[name][key], (section, key))


def _expand(where: tuple[str, str], value: Any) -> Any:
    """Return `value` with the word `search` replaced by the declared range."""
    if where in PLUGGED:
        return _expand_reference(PLUGGED[where], value)
    if value == "search":
        if where not in RANGES:
            raise InputError(f"has no range of its own to search. Write one, such as {{float: [1, 20]}}; {_with_ranges()}.")
        return RANGES[where]
    return value


def _with_ranges() -> str:
    return "ranges of their own have " + ", ".join(".".join(where) for where in RANGES)


def _expand_reference(family: str, node: Any) -> Any:
    if isinstance(node, dict) and isinstance(node.get("choice"), dict):
        return {**node, "choice": {label: _expand_options(family, label, sub) for label, sub in node["choice"].items()}}
    if isinstance(node, dict) and len(node) == 1 and not space.is_distribution(node):
        name, options = next(iter(node.items()))
        return {name: _expand_options(family, name, options)}
    return node


def _expand_options(family: str, name: str, options: Any) -> Any:
    if options != "search" and not (isinstance(options, dict) and "search" in options.values()):
        return options
    declared: dict[str, Any] = plugins.load(family, name).SPACE
    if options == "search":
        return declared
    if lacking := [key for key, value in options.items() if value == "search" and key not in declared]:
        raise InputError(f"{name} declares no range for '{lacking[0]}'.{nearest(lacking[0], declared)}")
    return {key: declared[key] if value == "search" else value for key, value in options.items()}


def _reference_problems(tree: Mapping[str, Any]) -> Iterator[Raw]:
    places: dict[tuple[str, ...], str] = {("data",): "data", ("task",): "tasks", ("teacher", "model"): "models"}
    for path, family in places.items():
        node: Any = tree
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            yield from _plugin_problems(family, node, path)


def _plugin_problems(family: str, reference: Any, path: tuple[str, ...]) -> Iterator[Raw]:
    if space.is_distribution(reference):
        yield path, reference, f"a distribution may stand only under {', '.join(SEARCHABLE)}."
        return
    try:
        name, options = plugins.parse_reference(reference)
        plugin = plugins.load(family, name)
    except InputError as error:
        yield path, reference, str(error)
        return
    try:
        plugin.Config.model_validate(options)
    except ValidationError as error:
        yield from _told(error, plugin.Config, (*path, name))


def _meaning_problems(spec: Spec) -> Iterator[Raw]:
    teacher, search = spec.teacher, spec.search
    if (teacher.model is None) == (teacher.path is None):
        yield ("teacher",), None, "give either `model`, to train one, or `path`, to read one."
    if search.trials is None and search.hours is None:
        yield ("search", "trials"), None, "give `trials` or `hours`: a search must end."
    for side in ("max", "min"):
        try:
            as_limits({side: getattr(spec.select, side)})
        except ValueError as error:
            yield ("select", side), getattr(spec.select, side), str(error)
    reported = set(search.constraints.max) & set(search.constraints.min)
    for name in sorted(reported):
        if search.constraints.min[name] > search.constraints.max[name]:
            yield ("search", "constraints"), name, f"nobody can meet these: {name} at least above at most."
