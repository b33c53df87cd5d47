"""YAML with line numbers: reads a spec's text, and finds the line that a setting stands on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from tutelage.errors import InputError, Problem

_OWN_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("float", "int", "bool", "timestamp"))

MOST_CHARACTERS, MOST_VALUES = 2_000_000, 100_000

_RULES = [  # YAML 1.2's, less octal numbers: 1e-3 is a number; no, on, 1:30, 1_000, 010 and 2026-01-01 are words
    (
        "float",
        r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$|^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)$|^[-+]?\.(inf|nan)$",
        "-+0123456789.",
    ),
    ("int", r"^[-+]?(0|[1-9][0-9]*)$", "-+0123456789"),
    ("bool", r"^(true|True|false|False)$", "tTfF"),
]


class _Loader(yaml.SafeLoader):
    """Reads by `_RULES`."""


class _Dumper(yaml.SafeDumper):
    """Quotes the words that YAML 1.1 or `_RULES` would read as something else, so that any reader gets the same values."""


def _own_resolvers(resolvers: Any) -> Any:
    return {first: [rule for rule in rules if rule[0] not in _OWN_TAGS] for first, rules in resolvers.items()}


_Loader.yaml_implicit_resolvers = _own_resolvers(_Loader.yaml_implicit_resolvers)


for _class in (_Loader, _Dumper):
    for _kind, _pattern, _first in _RULES:
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list(_first))


def dump(tree: Any) -> str:
    """Return plain values as YAML that `Document` and `parse_value` read back to the same values, keys in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False)


def parse_value(text: str) -> Any:
    """Return one YAML value, as in `--set key=value`; `InputError` if it is not YAML."""
    try:
        return _read(text)[1]
    except yaml.YAMLError as error:
        raise InputError(f"{text!r:.200} is not YAML: {_first_line(error)}.") from None


def _read(text: str) -> tuple[Any, Any]:
    """Return the root node of a text and its value; `YAMLError` for everything that makes no value, or one too large."""
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, and at most {MOST_CHARACTERS:,} are read")
    try:
        root = yaml.compose(text, _Loader)
        if root is None:
            return None, None
        if _expanded(root, {}, set()) > MOST_VALUES:
            raise yaml.YAMLError(f"with its aliases written out it has more than {MOST_VALUES:,} values")
        return root, yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # of a tag such as !!int, and of a number too long
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None


def _first_line(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).split("\n", 1)[0]


class Document:
    """A YAML mapping and the lines of its parts."""

    def __init__(self, text: str, source: str) -> None:
        """Parse `text`; `InputError` for invalid syntax, no mapping, a part that contains itself, or too many values."""
        try:
            self._root, self.tree = _read(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{source}:{mark.line + 1}" if mark else source
            raise InputError(f"{where}: not YAML that can be read: {_first_line(error)}.") from None
        if not isinstance(self.tree, dict):
            had = "is empty" if self.tree is None else f"holds a {type(self.tree).__name__}"
            raise InputError(f"{source} {had}; a spec is a mapping. See search_spaces/ for examples.")
        self.duplicates: list[Problem] = _duplicates(self._root, ())

    def has(self, path: Sequence[str]) -> bool:
        """Return whether the text itself holds the setting."""
        node = self._root
        for part in path:
            found = _child(node, part)
            if found is None:
                return False
            node = found[0]
        return True

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


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, yaml.SequenceNode):
        return [(str(i), child) for i, child in enumerate(node.value)]
    return [(str(key.value), value) for key, value in _pairs(node)]


def _expanded(node: Any, known: dict[int, int], above: set[int]) -> int:
    """Return the number of values below and at a node, with each alias written out.

    Raises `YAMLError` for a node that contains itself. `known` has the numbers of counted nodes; without it, ten lines
    of aliases would be counted for minutes.
    """
    if id(node) in above:
        raise yaml.composer.ComposerError(None, None, "an alias stands for a part that contains it", node.start_mark)
    if id(node) not in known:
        above.add(id(node))
        known[id(node)] = 1 + sum(_expanded(child, known, above) for _, child in _children(node))
        above.remove(id(node))
    return known[id(node)]


def _duplicates(node: Any, path: tuple[str, ...]) -> list[Problem]:
    found, seen = [], set()
    for key, value in _pairs(node):
        if key.value in seen:
            line = key.start_mark.line + 1
            found.append(Problem(".".join((*path, key.value)), line, _plain(value), "stands twice. Remove one."))
        seen.add(key.value)
    for part, child in _children(node):
        found += _duplicates(child, (*path, part))
    return found


def _plain(node: Any) -> Any:
    loader = _Loader("")
    return loader.construct_document(node)
