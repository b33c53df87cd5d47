"""YAML with line numbers: reads a spec's text, and finds the line that a setting stands on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from tutelage.errors import InputError, Problem, SpecError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats (so that 1e-3 is a number) and its booleans (so that `no` and `on` are words)."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$|^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)$|^[-+]?\.(inf|nan)$"),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|false|False)$"), list("tTfF"))


def parse_value(text: str) -> Any:
    """Return one YAML value, as in `--set key=value`; `InputError` if it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"'{text}' is not YAML: {_first_line(error)}") from None


def _first_line(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).split("\n", 1)[0]


class Document:
    """A YAML mapping and where its parts stand."""

    def __init__(self, text: str, source: str) -> None:
        """Parse `text`; `InputError` for bad syntax or no mapping, `SpecError` for keys that stand twice."""
        try:
            self._root = yaml.compose(text, _Loader)
            self.tree: Any = yaml.load(text, _Loader) if self._root is not None else None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{source}:{mark.line + 1}" if mark else source
            raise InputError(f"{where}: not YAML: {_first_line(error)}.") from None
        if not isinstance(self.tree, dict):
            had = "is empty" if self.tree is None else f"holds a {type(self.tree).__name__}"
            raise InputError(f"{source} {had}; a spec is a mapping. See search_spaces/ for examples.")
        if twice := list(_duplicates(self._root, ())):
            raise SpecError(source, twice)

    def line_of(self, path: Sequence[str]) -> int | None:
        """Return the line (from 1) of the setting, or of the nearest part of its path that is there.

        A path leads through `choice`, `max` or the like without naming the word `choice`.
        """
        node, line = self._root, None
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            node, line = found
        return line


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _child(node: Any, part: str) -> tuple[Any, int] | None:
    """Return the value under key (or list position) `part` and the key's line, looking through a `choice`."""
    for key, value in _pairs(node):
        if key.value == part:
            return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
        child = node.value[int(part)]
        return child, child.start_mark.line + 1
    choice = next((value for key, value in _pairs(node) if key.value == "choice"), None)
    return _child(choice, part) if choice is not None else None


def _duplicates(node: Any, path: tuple[str, ...]) -> list[Problem]:
    found, seen = [], set()
    for key, value in _pairs(node):
        here = (*path, str(key.value))
        if key.value in seen:
            found.append(Problem(".".join(here), key.start_mark.line + 1, value.value, "stands twice. Remove one."))
        seen.add(key.value)
        found += _duplicates(value, here)
    return found
