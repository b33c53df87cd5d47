"""Problems of a spec beyond the types of its fields: references, ranges, and settings that exclude each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tutelage import plugins
from tutelage.errors import InputError, TutelageError, nearest
from tutelage.measure import Measure
from tutelage.spec import distributions, space
from tutelage.spec.measures import known_measures
from tutelage.spec.objective_fields import limit_problems, objective_problems
from tutelage.spec.sections import Section, TeacherConfig
from tutelage.spec.spec import _CONFIGS, PLUGGED, SEARCHABLE, TASK, Spec
from tutelage.validation import Finding, findings

RANGES: dict[tuple[str, str], dict[str, Any]] = {  # what the word `search` stands for
    ("student", "learning_rate"): {"float": [0.0005, 0.02], "log": True},
    ("distillation", "temperature"): {"float": [1.0, 20.0], "log": True},
    ("distillation", "weight"): {"float": [0.0, 1.0]},
    ("sparsity", "amount"): {"float": [0.0, 0.9]},
}
_FROZEN = "the model has no gradients and is never trained"


def measures_named(tree: Mapping[str, Any]) -> dict[str, Measure]:
    """Return the measures that a spec may name; the built-in ones if its task or a measure is wrong (reported elsewhere)."""
    search = tree.get("search")
    listed = [search.get(key) for key in ("objectives", "measures")] if isinstance(search, Mapping) else []
    items = [item for items in listed if isinstance(items, list) for item in items]
    names = [item.get("name") if isinstance(item, Mapping) else item for item in items]
    try:
        return known_measures(tree.get("task", TASK), dict.fromkeys(n for n in names if isinstance(n, str) and ":" in n))
    except InputError:
        return known_measures(TASK)


def is_below(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether a place in the spec is `other` or lies below it."""
    return path[: len(other)] == other


def _teachers(tree: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Return the path and the settings of each teacher of the spec."""
    more = tree.get("more_teachers")
    further = enumerate(more if isinstance(more, list) else [])
    return [(("teacher",), tree.get("teacher")), *((("more_teachers", str(number)), one) for number, one in further)]


def listed_problems(tree: Mapping[str, Any], measures: Mapping[str, Measure]) -> Iterator[Finding]:
    """Yield the problems in the lists of the spec: measures, objectives, teachers."""
    search, select = tree.get("search"), tree.get("select")
    for at, teacher in _teachers(tree):
        if isinstance(teacher, Mapping):
            yield from _epochs_problems(teacher, at)
    if isinstance(search, Mapping):
        yield from objective_problems(search.get("objectives"), ("search", "objectives"), measures)
        yield from _measure_problems(search.get("measures"), ("search", "measures"))
        yield from limit_problems(search.get("constraints"), ("search", "constraints"), measures)
    if isinstance(select, Mapping):
        yield from limit_problems({side: select.get(side) for side in ("max", "min")}, ("select",), measures)


def _epochs_problems(teacher: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[Finding]:
    """Give why a teacher cannot be trained for its epochs: its model is not trained, or never can be."""
    model, epochs = teacher.get("model"), teacher.get("epochs", TeacherConfig.model_fields["epochs"].default)
    is_from_elsewhere = any(teacher.get(key) for key in ("source", "path", "weights"))
    if epochs == 0 and not is_from_elsewhere and _says(model, "is_trained") is False:
        yield (*at, "epochs"), 0, "a teacher without a `source` needs at least 1 epoch, unless its model is trained already."
    if (epochs != 0 or teacher.get("source")) and _says(model, "is_frozen"):
        yield (*at, "epochs"), epochs, f"{_FROZEN}, so this teacher is taken as it is. Set epochs: 0, and no `source`."


def _says(model: Any, attribute: str) -> bool | None:
    """Return what a model's plugin says of its `is_trained` or `is_frozen`; None for a wrong reference, reported elsewhere."""
    try:
        _, plugin, config = plugins.configure("models", model)
    except TutelageError:
        return None
    return hasattr(plugin, attribute) and bool(getattr(plugin, attribute)(config))


def _measure_problems(names: Any, at: tuple[str, ...]) -> Iterator[Finding]:
    for number, name in enumerate(names if isinstance(names, list) else []):
        try:
            plugins.measure(name)
        except InputError as error:
            yield (*at, str(number)), name, str(error)


def searchable_problems(tree: dict[str, Any]) -> Iterator[Finding]:
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
        parsed, impossible = distributions.parse_all(expanded, (name,))
        found += [(problem.parts, problem.value, problem.why) for problem in impossible]
        yield from found
        if name in tree or name != "student":
            tree[name] = {key: expanded[key] for key in (*fields, *(k for k in expanded if k not in fields)) if key in expanded}
            unclear = [path for path, *_ in found]
            corners = _corner_problems(name, parsed)
            yield from (issue for issue in corners if not any(is_below(issue[0], path) for path in unclear))


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
                yield from (problems := list(_plugin_problems(family, corner[name][key], (section, key))))
                if family == "models" and _says(corner[name][key], "is_frozen"):
                    yield (section, key), corner[name][key], f"{_FROZEN}, so it is a teacher only. Choose another model."
                if family == "sparsity" and not problems and corner[name].get("ladder") is not None:
                    yield from _ladder_problems(corner[name]["method"], corner[name]["ladder"])


def _ladder_problems(method: Any, ladder: Any) -> Iterator[Finding]:
    """Give why a sparsity method, which is well configured, cannot remove rung by rung, or by the sandwich rule."""
    try:
        _, plugin, options = plugins.configure("sparsity", method)
        built = plugin.build(options, 0.5)
        built.sandwich((0.5,), 1) if isinstance(ladder, Mapping) and ladder.get("sandwich") else built.for_ladder()
    except InputError as error:
        yield ("sparsity", "ladder"), method, f"sparsity.method '{plugins.described(method)}' has no ladder: {error}"


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
    if isinstance(node, dict) and len(node) == 1 and not distributions.is_distribution(node):
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


def reference_problems(tree: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the problems of the plugins that the spec names, and of their options."""
    places: dict[tuple[str, ...], str] = {("data",): "data", ("task",): "tasks", ("select", "policy"): "policies"}
    places |= {("search", "sampler"): "samplers", ("search", "stopping", "rule"): "rules"}
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


def meaning_problems(spec: Spec) -> Iterator[Finding]:
    """Yield the settings of a well-typed spec that exclude each other."""
    search = spec.search
    yield from _teacher_problems(spec.teacher, ("teacher",))
    for number, teacher in enumerate(spec.more_teachers):
        yield from _teacher_problems(teacher, ("more_teachers", str(number)))
    if search.trials is None and search.hours is None:
        yield ("search", "trials"), None, "give `trials` or `hours`: a search must end."
    yield from _unlearnable_problems(spec)
    yield from _unfit_problems(spec)
    if spec.resources.trial.workers > 1 and "latency_ms" in json.dumps(spec.sparsity):
        yield (
            ("resources", "trial", "workers"),
            spec.resources.trial.workers,
            (
                "the workers of a trial would each remove units by their own measured latency, and end with networks that "
                "differ. Take cost: macs or size_bytes in sparsity.method, or one worker."
            ),
        )
    reported = set(search.constraints.max) & set(search.constraints.min)
    for name in sorted(reported):
        if search.constraints.min[name] > search.constraints.max[name]:
            yield (
                ("search", "constraints"),
                name,
                f"no student can meet these: the lower bound of {name} is above its upper bound.",
            )


def _unfit_problems(spec: Spec) -> Iterator[Finding]:
    """Give the first reason for which a corner of the space is no student, of those that take several sections to see."""
    for corner in spec.space.corners() if spec.sparsity.get("ladder") is not None else ():
        try:
            spec.trial_config(corner)
        except InputError as error:
            yield ("sparsity", "ladder"), None, str(error)
            return


def _unlearnable_problems(spec: Spec) -> Iterator[Finding]:
    """Yield the objectives that are measured too late for early stopping or for a sampler that chooses by sizes."""
    search, primary = spec.search, spec.primary.name
    before = [name for name, measure in spec.measures.items() if measure.available == "before_training"]
    named = [objective.name for objective in search.objectives]
    late = ", ".join(name for name in named if name not in (*before, primary))
    known = f"what is known before training, {', '.join(before)}"
    sampler = plugins.parse_reference(search.sampler)[0]
    if late and hasattr(plugins.load("samplers", sampler), "chooser"):
        yield (
            ("search", "objectives"),
            None,
            (
                f"the sampler {sampler} uses {primary} and {known}, but {late} is measured after training. Take another "
                "sampler, or remove this objective."
            ),
        )
    if search.stopping and primary not in named:
        yield (
            ("search", "stopping"),
            None,
            f"early stopping compares students by {primary}, which is not an objective. Make it one, or remove this.",
        )
    if search.stopping and late:
        yield (
            ("search", "stopping"),
            None,
            (
                f"early stopping compares students by {known}, and by {primary}, but the objective {late} is measured after "
                "training. Remove it from the objectives, or remove this."
            ),
        )


def _teacher_problems(teacher: TeacherConfig, at: tuple[str, ...]) -> Iterator[Finding]:
    if (teacher.model is None) == (teacher.path is None):
        yield at, None, "give either `model`, to train one, or `path`, to read one."
    for name in ("weights", "classes", "source"):
        if getattr(teacher, name) is not None and teacher.model is None:
            yield (*at, name), getattr(teacher, name), "belongs to a `model`; a `path` brings its own."
    if teacher.trust is not None and teacher.path is None:
        yield (*at, "trust"), teacher.trust, "belongs to a `path`; it names code that the files there may name."
