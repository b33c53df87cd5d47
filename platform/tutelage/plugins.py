"""The plugin families: each directory is a registry, each file in it is one plugin, and the file's name is the plugin's.

A plugin is a module with a docstring whose first line is its summary, a `Config`, the search ranges `SPACE` of its options,
and its family's entry function. A user's plugin is named `module:Name` and is an object with the same attributes. A
measure's file holds only a `MEASURE`; a user's measure is the `Measure` itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from tutelage.errors import InputError, nearest
from tutelage.measure import Measure
from tutelage.signature import Signature
from tutelage.validation import findings

FAMILIES = {
    "tasks": "build", "data": "read", "models": "build", "losses": "build", "sparsity": "build", "measures": "MEASURE",
    "policies": "scores", "samplers": "build", "rules": "build",
}  # fmt: skip
FOLDERS = {"samplers": "search/samplers", "rules": "search/rules"}  # families that do not have a room of their own
HYPHENATED = ("policies", "samplers", "rules")  # these plugins' names have hyphens: best-quality
Reference = str | dict[str, Any]  # "name" or {"name": {option: value}}
_HOME = Path(__file__).parent
_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # `module:Name`


class PluginConfig(BaseModel):
    """The options of a plugin: frozen; unknown keys, NaN and infinity are errors. A field's description states its unit.

    Nothing is converted silently: true is not 1 and "3" is not 3. YAML has only lists, so a tuple needs
    `Field(strict=False)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@cache
def names(family: str) -> list[str]:
    """Return the names of a family's built-in plugins, sorted."""
    assert family in FAMILIES, family
    stems = sorted(path.stem for path in (_HOME / folder(family)).glob("*.py") if not path.stem.startswith("_"))
    return [stem.replace("_", "-") for stem in stems] if family in HYPHENATED else stems


def folder(family: str) -> str:
    """Return a family's folder within the package."""
    return FOLDERS.get(family, family)


def stem(family: str, name: str) -> str:
    """Return the name of the file of one of the package's own plugins, without its ending."""
    return name.replace("-", "_") if family in HYPHENATED else name


def summary(family: str, name: str) -> str:
    """Return the first line of a plugin's docstring. A built-in plugin is read without importing it.

    Raises `InputError` as `load` does.
    """
    if family == "measures":
        return measure(name).meaning
    if ":" in name:
        return (inspect.getdoc(load(family, name)) or "").split("\n", 1)[0]
    _check_built_in(family, name)
    tree = ast.parse((_HOME / folder(family) / f"{stem(family, name)}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n", 1)[0]


def load(family: str, name: str) -> Any:
    """Return the plugin `name` of `family`: a built-in one, or a user's `module:Name`.

    Raises `InputError` for an unknown name (with the nearest one), a module that cannot be imported, or a missing attribute.
    """
    if isinstance(name, str) and ":" in name:
        return _load_foreign(family, name)
    _check_built_in(family, name)
    return importlib.import_module(f"tutelage.{folder(family).replace('/', '.')}.{stem(family, name)}")


def measure(name: str) -> Measure:
    """Return a built-in measure by its name, or a user's by `module:Name`. Raises `InputError` as `load` does."""
    found: Measure = load("measures", name).MEASURE
    return found


def _check_built_in(family: str, name: str) -> None:
    if name not in names(family):
        raise InputError(
            f"no {family} plugin '{name}'.{nearest(name, names(family))} Known: {', '.join(names(family))}, "
            "or your own as 'module:Name'."
        )


def _load_foreign(family: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not _OWN.fullmatch(name):
        raise InputError(f"{family} plugin '{name}' is not written as 'module:Name'.")
    if module_name == "__main__":
        raise InputError(
            f"{family} plugin '{name}': other processes cannot import __main__. Put {attribute} into a module's file."
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
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
    if not (isinstance(plugin.Config, type) and issubclass(plugin.Config, BaseModel)):
        raise InputError(f"{family} plugin '{name}': its Config is {plugin.Config!r:.80}, not a tutelage.plugins.PluginConfig.")
    if not callable(getattr(plugin, FAMILIES[family])):
        raise InputError(f"{family} plugin '{name}': its {FAMILIES[family]} is no function.")
    return plugin


def _from_factory(name: str, factory: Callable[..., Any]) -> Any:
    """Return a model plugin for a class or function that returns a network; its arguments become the options.

    Arguments named `signature`, `example_shape` (of the first input) and `num_classes` (of the first output) are not options:
    the data sets them.
    """
    from_data = ("signature", "example_shape", "num_classes")
    arguments = inspect.signature(factory).parameters.values()
    plain = [a for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY) and a.name not in from_data]
    hints = _hints(factory)
    fields: dict[str, Any] = {a.name: (hints.get(a.name, Any), ... if a.default is a.empty else a.default) for a in plain}
    taken = [a.name for a in arguments if a.name in from_data]

    def build(config: Any, signature: Signature) -> Any:
        data = {
            "signature": signature, "example_shape": signature.example_shape, "num_classes": len(signature.class_names)
        }  # fmt: skip
        return factory(**{field: getattr(config, field) for field in fields}, **{name: data[name] for name in taken})

    config = create_model("Config", __base__=PluginConfig, **fields)
    return SimpleNamespace(__doc__=inspect.getdoc(factory) or name, SPACE={}, Config=config, build=build)


def _from_scores(name: str, function: Callable[..., Any]) -> Any:
    """Return a policy plugin for a function that scores the students of a front from a list of their measures by name."""

    def scores(config: Any, front: Any, context: Any) -> Any:
        return function([dict(context.values(record)) for record in front])

    return SimpleNamespace(__doc__=inspect.getdoc(function) or name, SPACE={}, Config=PluginConfig, scores=scores)


def _from_measure(name: str, plugin: Any) -> Any:
    """Return a namespace with the attributes of a measure's file."""
    if not isinstance(plugin, Measure):
        raise InputError(f"measures plugin '{name}' is a {type(plugin).__name__}, not a tutelage.measure.Measure.")
    return SimpleNamespace(MEASURE=plugin)


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    called: Any = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return get_type_hints(called)
    except (NameError, TypeError):  # names imported only for type checking: these options are not checked
        return {}


def own_code(tree: Any) -> frozenset[str]:
    """Return every `module:Name` that stands in a tree of mappings and lists, as a key or as a value."""
    if isinstance(tree, str):
        return frozenset([tree] if _OWN.fullmatch(tree) else [])
    if isinstance(tree, Mapping):
        return frozenset().union(*map(own_code, tree), *map(own_code, tree.values()))
    return frozenset().union(*map(own_code, tree)) if isinstance(tree, list | tuple) else frozenset()


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
    """Return a reference as text: "name", or "name (option: value, …)"."""
    name, options = parse_reference(reference)
    listed = ", ".join(f"{option}: {value}" for option, value in options.items())
    return f"{name} ({listed})" if options else name


def configure(family: str, reference: Any) -> tuple[str, Any, Any]:
    """Return (name, plugin, checked `Config`) for a reference. Raises `InputError` with each wrong option and the reason."""
    name, options = parse_reference(reference)
    plugin = load(family, name)
    try:
        return name, plugin, plugin.Config.model_validate(options)
    except ValidationError as error:
        issues = [f"{'.'.join(path)}: {why} (given {value!r})" for path, value, why in findings(error, plugin.Config)]
        raise InputError(f"{family} plugin '{name}': {'; '.join(issues)}") from None


def ranges(family: str, name: str) -> dict[str, Any]:
    """Return the search ranges of a plugin's options. Raises `InputError` if it has none or does not exist."""
    declared: dict[str, Any] | None = getattr(load(family, name), "SPACE", None)
    if declared is None:
        raise InputError(f"{family} plugin '{name}' has no SPACE to search. Write ranges, such as {{option: {{int: [1, 4]}}}}.")
    return declared
