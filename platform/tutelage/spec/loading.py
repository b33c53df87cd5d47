"""A sweep's spec: what it may say, read strictly; every problem of a file is told at once.

Under `student`, `distillation` and `sparsity` a distribution may stand for any value; a spec therefore holds these three as
trees, and `trial_config` checks what a trial resolved them to. At loading, the corners of the space are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tutelage import plugins
from tutelage.errors import InputError, Problem, SpecError, nearest
from tutelage.measure import Measure
from tutelage.plugins import Reference
from tutelage.spec import space
from tutelage.spec.measures import known_measures
from tutelage.spec.objective_fields import limit_problems, objective_problems
from tutelage.spec.sections import (
    AS_IT_IS,
    AugmentationConfig,
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
)
from tutelage.spec.yaml_lines import Document, parse_value
from tutelage.validation import Finding, findings

TASK = "image_classification"  # unless a spec names another
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
    task: Reference = Field(TASK, description="a task plugin")
    augmentation: AugmentationConfig = AS_IT_IS
    teacher: TeacherConfig
    more_teachers: list[TeacherConfig] = Field(default_factory=list, description="further teachers, averaged with the first")
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
    def measures(self) -> dict[str, Measure]:
        """What is measured of every student by name, the task's primary measure first."""
        own = [objective.spelling for objective in self.search.objectives if objective.spelling]
        return known_measures(self.task, dict.fromkeys([*own, *self.search.measures]))

    @property
    def primary(self) -> Measure:
        """The primary measure of the task: what a search learns and decisions rest on."""
        return next(iter(self.measures.values()))

    @cached_property
    def space(self) -> space.Space:
        """The search space: the three searchable sections with their distributions."""
        return space.Space({name: space.parse(getattr(self, name), name) for name in SEARCHABLE})

    def resolved(self) -> dict[str, Any]:
        """Return the whole spec, defaults filled in, as plain YAML values; it loads again to an equal spec."""
        return self.model_dump(mode="json")

    def default_of(self, name: str) -> Any:
        """Return the default of a searched setting by its dotted name, a plugin's option as its plugin has it; None if none."""
        section, key, *rest = name.split(".")
        fields: Mapping[str, Any] = _CONFIGS[section].model_fields
        if rest:
            family, label, inner = PLUGGED.get((section, key)), *_label_and_rest(rest)
            if family is None or len(inner) != 1:
                return None
            fields, key = plugins.load(family, label).Config.model_fields, inner[0]
        return None if key not in fields or fields[key].is_required() else fields[key].default

    def trial_config(self, config: Mapping[str, Any]) -> TrialConfig:
        """Return a resolved config, typed; `InputError` if a value is out of its range."""
        try:
            return TrialConfig.model_validate(dict(config))
        except ValidationError as error:
            raise InputError("; ".join(f"{'.'.join(path)}: {why}" for path, _, why in findings(error, TrialConfig))) from None


def _label_and_rest(parts: Sequence[str]) -> tuple[str, list[str]]:
    """Split the dotted name of a plugin's option into the plugin's name, which may be `package.module:Name`, and the rest."""
    end = next((position for position, part in enumerate(parts, 1) if ":" in part), 1)
    return ".".join(parts[:end]), list(parts[end:])


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
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: '{part}' holds a value, not settings. Set it whole.")
    try:
        node[path[-1]] = parse_value(text)
    except InputError as error:
        raise InputError(f"--set {override}: {error}") from None
    return path


def _checked(tree: dict[str, Any], source: str, document: Document | None, overridden: Sequence[tuple[str, ...]]) -> Spec:
    misplaced = list(_misplaced(tree))
    measures = _measures_named(tree)
    _fill_objectives(tree, measures)
    precise = [*misplaced, *_listed_problems(tree, measures), *_searchable_problems(tree), *_reference_problems(tree)]
    spec, general = None, []
    try:
        spec = Spec.model_validate(tree, context={"measures": measures})
    except ValidationError as error:
        general = findings(error, Spec)
    raw = precise + [issue for issue in general if not _is_covered(issue[0], precise)]
    if spec is not None:
        raw += _meaning_problems(spec)
    raw = [issue for issue in raw if issue in misplaced or not any(_is_below(issue[0], path) for path, *_ in misplaced)]
    found = [*(document.duplicates if document else []), *(_problem(issue, document, overridden) for issue in _once(raw))]
    if spec is None or found:
        raise SpecError(source, sorted(found, key=lambda problem: problem.line or 0))
    return spec


def _measures_named(tree: Mapping[str, Any]) -> dict[str, Measure]:
    """Return the measures that a spec may name; where it names a task or a measure wrongly, which is told elsewhere, ours."""
    search = tree.get("search")
    listed = [search.get(key) for key in ("objectives", "measures")] if isinstance(search, Mapping) else []
    items = [item for items in listed if isinstance(items, list) for item in items]
    names = [item.get("name") if isinstance(item, Mapping) else item for item in items]
    try:
        return known_measures(tree.get("task", TASK), dict.fromkeys(n for n in names if isinstance(n, str) and ":" in n))
    except InputError:
        return known_measures(TASK)


def _fill_objectives(tree: dict[str, Any], measures: Mapping[str, Measure]) -> None:
    """Write the default objectives into a spec that names none: the task's primary measure and params."""
    if isinstance(tree.setdefault("search", {}), dict):
        tree["search"].setdefault("objectives", [next(iter(measures)), "params"])


def _is_below(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return path[: len(other)] == other


def _is_covered(path: tuple[str, ...], precise: Sequence[Finding]) -> bool:
    """Return whether a more exact word about the same setting is there."""
    return any(_is_below(path, other) or (path[0] not in SEARCHABLE and _is_below(other, path)) for other, *_ in precise)


def _once(raw: Sequence[Finding]) -> Iterator[Finding]:
    seen = set()
    for path, value, why in raw:
        if (path, why) not in seen:
            seen.add((path, why))
            yield path, value, why


def _problem(issue: Finding, document: Document | None, overridden: Sequence[tuple[str, ...]]) -> Problem:
    path, value, why = issue
    made = document is not None and not document.has(path)  # a section that only an option brought
    by_option = any(_is_below(path, option) or (made and _is_below(option, path)) for option in overridden)
    line = document.line_of(path) if document and not by_option else None
    return Problem(("--set " if by_option else "") + ".".join(path), line, value, why)


def _misplaced(node: Any, path: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Give every distribution outside the searchable sections."""
    if path and path[0] in SEARCHABLE:
        return
    if path and space.is_distribution(node):
        yield path, node, f"a distribution may stand only under {', '.join(SEARCHABLE)}. Write one value."
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _misplaced(value, (*path, str(key)))


def _teachers(tree: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Return where each teacher stands, and what stands there."""
    more = tree.get("more_teachers")
    further = enumerate(more if isinstance(more, list) else [])
    return [(("teacher",), tree.get("teacher")), *((("more_teachers", str(number)), one) for number, one in further)]


def _listed_problems(tree: Mapping[str, Any], measures: Mapping[str, Measure]) -> Iterator[Finding]:
    search, select = tree.get("search"), tree.get("select")
    for at, teacher in _teachers(tree):
        if isinstance(teacher, Mapping) and teacher.get("epochs") == 0 and not teacher.get("source"):
            yield (*at, "epochs"), 0, "a teacher without a `source` learns for at least 1 epoch."
    if isinstance(search, Mapping):
        yield from objective_problems(search.get("objectives"), ("search", "objectives"), measures)
        yield from _measure_problems(search.get("measures"), ("search", "measures"))
        yield from limit_problems(search.get("constraints"), ("search", "constraints"), measures)
    if isinstance(select, Mapping):
        yield from limit_problems({side: select.get(side) for side in ("max", "min")}, ("select",), measures)


def _measure_problems(names: Any, at: tuple[str, ...]) -> Iterator[Finding]:
    for number, name in enumerate(names if isinstance(names, list) else []):
        try:
            plugins.measure(name)
        except InputError as error:
            yield (*at, str(number)), name, str(error)


_CONFIGS: dict[str, type[Section]] = {
    "student": StudentConfig,
    "distillation": DistillationConfig,
    "sparsity": SparsityConfig,
}


def _searchable_problems(tree: dict[str, Any]) -> Iterator[Finding]:
    """Fill defaults and `search` words into the three sections of `tree`, and check the corners of their space."""
    for name in SEARCHABLE:
        section = tree.get(name, {})
        if not isinstance(section, dict):
            yield (name,), section, "must be a mapping of settings."
            continue
        fields = _CONFIGS[name].model_fields
        defaults = {key: _plain(field.default) for key, field in fields.items() if not field.is_required()}
        expanded: dict[str, Any] = {**defaults}
        found: list[Finding] = []
        for key, value in section.items():
            expanded[key] = _expand((name, str(key)), value, found)
        parsed, impossible = space.parse_all(expanded, (name,))
        found += [(problem.parts, problem.value, problem.why) for problem in impossible]
        yield from found
        if name in tree or name != "student":
            tree[name] = {key: expanded[key] for key in (*fields, *(k for k in expanded if k not in fields)) if key in expanded}
            unclear = [path for path, *_ in found]
            corners = _corner_problems(name, parsed)
            yield from (issue for issue in corners if not any(_is_below(issue[0], path) for path in unclear))


def _plain(default: Any) -> Any:
    return default.model_dump() if isinstance(default, Section) else default


def _corner_problems(name: str, parsed: Mapping[str, Any]) -> Iterator[Finding]:
    for corner in space.Space({name: parsed}).corners():
        try:
            _CONFIGS[name].model_validate(corner[name])
        except ValidationError as error:
            yield from (
                issue for issue in findings(error, _CONFIGS[name], (name,)) if issue[0][:2] not in PLUGGED or not issue[0][2:]
            )
        for (section, key), family in PLUGGED.items():
            if section == name and key in corner[name]:
                yield from _plugin_problems(family, corner[name][key], (section, key))


def _expand(where: tuple[str, str], value: Any, found: list[Finding]) -> Any:
    """Return `value` with the word `search` replaced by the declared range; what cannot be replaced goes to `found`."""
    if where in PLUGGED:
        return _expand_reference(where, value, found)
    if value == "search":
        if where not in RANGES:
            found.append((where, value, _NO_RANGE))
        return RANGES.get(where)
    return value


_NO_RANGE = (
    "has no range of its own to search. Write one, such as {float: [1, 20]}; ranges of their own have "
    f"{', '.join('.'.join(where) for where in RANGES)}."
)


def _expand_reference(where: tuple[str, str], node: Any, found: list[Finding]) -> Any:
    if isinstance(node, dict) and isinstance(node.get("choice"), dict):
        return {**node, "choice": {label: _expand_options(where, label, sub, found) for label, sub in node["choice"].items()}}
    if isinstance(node, dict) and len(node) == 1 and not space.is_distribution(node):
        name, options = next(iter(node.items()))
        return {name: _expand_options(where, name, options, found)}
    return node


def _expand_options(where: tuple[str, str], name: Any, options: Any, found: list[Finding]) -> Any:
    if options != "search" and not (isinstance(options, dict) and "search" in options.values()):
        return options
    path = (*where, str(name))
    try:
        declared = plugins.ranges(PLUGGED[where], name)
    except InputError as error:
        found.append((path, options, str(error)))
        return {}
    if options == "search":
        return declared
    for key in [key for key, value in options.items() if value == "search" and key not in declared]:
        found.append(((*path, str(key)), "search", f"{name} declares no range for '{key}'.{nearest(str(key), declared)}"))
    return {key: declared.get(key) if value == "search" else value for key, value in options.items()}


def _reference_problems(tree: Mapping[str, Any]) -> Iterator[Finding]:
    places: dict[tuple[str, ...], str] = {("data",): "data", ("task",): "tasks", ("select", "policy"): "policies"}
    for at, _ in _teachers(tree):
        places |= {(*at, "model"): "models", (*at, "source", "data"): "data"}
    for path, family in places.items():
        node: Any = tree
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.get(part) if isinstance(node, Mapping) else None
        if node is not None or (path[0] in tree and len(path) == 1):
            yield from _plugin_problems(family, node, path)


def _plugin_problems(family: str, reference: Any, path: tuple[str, ...]) -> Iterator[Finding]:
    try:
        name, options = plugins.parse_reference(reference)
    except InputError as error:
        yield path, reference, str(error)
        return
    try:
        plugin = plugins.load(family, name)
    except InputError as error:
        yield path if isinstance(reference, str) else (*path, name), reference, str(error)
        return
    try:
        plugin.Config.model_validate(options)
    except ValidationError as error:
        yield from findings(error, plugin.Config, (*path, name))


def _meaning_problems(spec: Spec) -> Iterator[Finding]:
    search = spec.search
    yield from _teacher_problems(spec.teacher, ("teacher",))
    for number, teacher in enumerate(spec.more_teachers):
        yield from _teacher_problems(teacher, ("more_teachers", str(number)))
    if search.trials is None and search.hours is None:
        yield ("search", "trials"), None, "give `trials` or `hours`: a search must end."
    yield from _unlearnable_problems(spec)
    reported = set(search.constraints.max) & set(search.constraints.min)
    for name in sorted(reported):
        if search.constraints.min[name] > search.constraints.max[name]:
            yield ("search", "constraints"), name, f"nobody can meet these: {name} at least above at most."


def _unlearnable_problems(spec: Spec) -> Iterator[Finding]:
    """Give what keeps early stopping or the sampler size-aware from knowing all objectives but the primary measure early."""
    search, primary = spec.search, spec.primary.name
    before = [name for name, measure in spec.measures.items() if measure.available == "before_training"]
    named = [objective.name for objective in search.objectives]
    late = ", ".join(name for name in named if name not in (*before, primary))
    known = f"what is known before training, {', '.join(before)}"
    if search.sampler == "size-aware" and late:
        yield (
            ("search", "objectives"),
            None,
            (
                f"the sampler size-aware goes by {primary} and {known}; {late} is measured at the end. Take another sampler, "
                "or leave it out."
            ),
        )
    if search.stopping and primary not in named:
        yield (
            ("search", "stopping"),
            None,
            f"students are stopped by their {primary}, which is no objective. Name it, or drop this.",
        )
    if search.stopping and late:
        yield (
            ("search", "stopping"),
            None,
            (
                f"students are judged by {known}, and by {primary}; the objective {late} is measured at the end. Take "
                "it out of the objectives, or leave this out."
            ),
        )


def _teacher_problems(teacher: TeacherConfig, at: tuple[str, ...]) -> Iterator[Finding]:
    if (teacher.model is None) == (teacher.path is None):
        yield at, None, "give either `model`, to train one, or `path`, to read one."
    for name in ("weights", "classes", "source"):
        if getattr(teacher, name) is not None and teacher.model is None:
            yield (*at, name), getattr(teacher, name), "belongs to a `model`; a `path` brings its own."


def tracking_uri(spec: Spec) -> str:
    """Return the spec's MLflow URI, by default that of a database in its storage."""
    return spec.tracking.uri or default_tracking_uri(Path(spec.storage))


def default_tracking_uri(storage: Path) -> str:
    """Return the URI of the SQLite database that MLflow uses where no other is named: `sqlite:///<storage>/mlflow.db`."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"
