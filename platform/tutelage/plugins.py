"""The plugin families. A family's registry is its directory: one file, one plugin, found by its name.

A plugin is a module with a first docstring line (its summary), a `Config`, the ranges `SPACE` that its options can be
searched over, and its family's entry function. A user's own is named `module:Name`, an object with the same attributes.
A measure's file holds a `MEASURE` alone, and a user's own is the `Measure` itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from tutelage.errors import InputError, nearest
from tutelage.measure import Measure
from tutelage.signature import Signature
from tutelage.validation import told

FAMILIES = {
    "tasks": "build", "data": "read", "models": "build", "losses": "build", "sparsity": "build", "measures": "MEASURE",
    "policies": "scores",
}  # fmt: skip

HYPHENATED = ("policies",)  # families whose names are typed on the command line, as options are: best-quality
Reference = str | dict[str, Any]  # "name" or {"name": {option: value}}
_HOME = Path(__file__).parent


class PluginConfig(BaseModel):
    """The options of a plugin: frozen, unknown keys refused, no NaN or infinity; a field's description says its unit.

    Nothing is converted silently: true is no 1 and "3" no 3. YAML has lists only, so a tuple needs `Field(strict=False)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@cache
def names(family: str) -> list[str]:
    """Return the names of a family's own plugins, sorted."""
    assert family in FAMILIES, family
    stems = sorted(path.stem for path in (_HOME / family).glob("*.py") if not path.stem.startswith("_"))
    return [stem.replace("_", "-") for stem in stems] if family in HYPHENATED else stems


def _stem(family: str, name: str) -> str:
    return name.replace("-", "_") if family in HYPHENATED else name


def summary(family: str, name: str) -> str:
    """Return the first line of a plugin's docstring; one of ours is read without importing it.

    Raises `InputError` as `load` does.
    """
    if family == "measures":
        return measure(name).meaning
    if ":" in name:
        return (inspect.getdoc(load(family, name)) or "").split("\n", 1)[0]
    _check_known(family, name)
    tree = ast.parse((_HOME / family / f"{_stem(family, name)}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n", 1)[0]


def load(family: str, name: str) -> Any:
    """Return the plugin `name` of `family`: one of ours, or a user's `module:Name`.

    Raises `InputError` for an unknown name (with the nearest), a module that does not import, or a missing attribute.
    """
    if isinstance(name, str) and ":" in name:
        return _load_foreign(family, name)
    _check_known(family, name)
    return importlib.import_module(f"tutelage.{family}.{_stem(family, name)}")


def measure(name: str) -> Measure:
    """Return a measure of ours by its name, or a user's as `module:Name`; `InputError` as `load` raises it."""
    found: Measure = load("measures", name).MEASURE
    return found


def _check_known(family: str, name: str) -> None:
    if name not in names(family):
        raise InputError(
            f"no {family} plugin '{name}'.{nearest(name, names(family))} Known: {', '.join(names(family))}, "
            "or your own as 'module:Name'."
        )


def _load_foreign(family: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise InputError(f"{family} plugin '{name}' is not written as 'module:Name'.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{family} plugin '{name}' cannot be imported: {why}. Is its directory on PYTHONPATH?") from error
    if not hasattr(module, attribute):
        hint = nearest(attribute, vars(module))
        raise InputError(f"{family} plugin '{name}' cannot be imported: {module_name} has no {attribute}.{hint}")
    plugin = getattr(module, attribute)
    if family == "models" and callable(plugin) and not hasattr(plugin, "build") and not hasattr(plugin, "Config"):
        return _from_factory(name, plugin)
    if family == "policies" and callable(plugin) and not hasattr(plugin, "scores"):
        return _from_scores(name, plugin)
    if family == "measures":
        return _from_measure(name, plugin)
    if missing := [part for part in ("Config", FAMILIES[family]) if not hasattr(plugin, part)]:
        raise InputError(f"{family} plugin '{name}' lacks {' and '.join(missing)}; see CONTRIBUTING.md.")
    return plugin


def _from_factory(name: str, factory: Callable[..., Any]) -> Any:
    """Return a model plugin of a class or function that gives a network; its arguments are the options.

    `signature`, or `example_shape` and `num_classes` (of the first input and output), are given to it where it takes them.
    """
    given = ("signature", "example_shape", "num_classes")
    arguments = inspect.signature(factory).parameters.values()
    plain = [a for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY) and a.name not in given]
    hints = _hints(factory)
    fields: dict[str, Any] = {a.name: (hints.get(a.name, Any), ... if a.default is a.empty else a.default) for a in plain}
    taken = [a.name for a in arguments if a.name in given]

    def build(config: Any, signature: Signature) -> Any:
        offered = {
            "signature": signature, "example_shape": signature.example_shape, "num_classes": len(signature.class_names)
        }  # fmt: skip
        return factory(**{field: getattr(config, field) for field in fields}, **{word: offered[word] for word in taken})

    config = create_model("Config", __base__=PluginConfig, **fields)
    return SimpleNamespace(__doc__=inspect.getdoc(factory) or name, SPACE={}, Config=config, build=build)


def _from_scores(name: str, function: Callable[..., Any]) -> Any:
    """Return a policy plugin of a function that scores a front's students, given their measures, a list of mappings."""

    def scores(config: Any, front: Any, context: Any) -> Any:
        return function([dict(record.measures) for record in front])

    return SimpleNamespace(__doc__=inspect.getdoc(function) or name, SPACE={}, Config=PluginConfig, scores=scores)


def _from_measure(name: str, plugin: Any) -> Any:
    """Return the namespace that a measure's file would be."""
    if not isinstance(plugin, Measure):
        raise InputError(f"measures plugin '{name}' is a {type(plugin).__name__}, not a tutelage.measure.Measure.")
    return SimpleNamespace(MEASURE=plugin)


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    called: Any = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return get_type_hints(called)
    except (NameError, TypeError):  # names that only a type checker knows: the options are then taken as they are
        return {}


def parse_reference(reference: Any) -> tuple[str, dict[str, Any]]:
    """Split `"name"` or `{"name": {option: value}}` into name and options; `InputError` for anything else."""
    if isinstance(reference, str):
        return reference, {}
    if isinstance(reference, Mapping) and len(reference) == 1:
        name, options = next(iter(reference.items()))
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, dict(options or {})
    raise InputError(f"{reference!r} names no plugin. Write a name, or one name with its options: {{name: {{option: 1}}}}.")


def described(reference: Reference) -> str:
    """Return a reference in words: "name", or "name (option: value, …)"."""
    name, options = parse_reference(reference)
    told_options = ", ".join(f"{option}: {value}" for option, value in options.items())
    return f"{name} ({told_options})" if options else name


def configure(family: str, reference: Any) -> tuple[str, Any, Any]:
    """Return (name, plugin, its checked `Config`) for a reference; `InputError` says which option is wrong and why."""
    name, options = parse_reference(reference)
    plugin = load(family, name)
    try:
        return name, plugin, plugin.Config.model_validate(options)
    except ValidationError as error:
        issues = [f"{'.'.join(path)}: {why} (given {value!r})" for path, value, why in told(error, plugin.Config)]
        raise InputError(f"{family} plugin '{name}': {'; '.join(issues)}") from None


def ranges(family: str, name: str) -> dict[str, Any]:
    """Return the ranges that a plugin declares for its options; `InputError` if it has none or is not there."""
    declared: dict[str, Any] | None = getattr(load(family, name), "SPACE", None)
    if declared is None:
        raise InputError(f"{family} plugin '{name}' has no SPACE to search. Write ranges, such as {{option: {{int: [1, 4]}}}}.")
    return declared
