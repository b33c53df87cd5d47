"""What the tests of one plugin say to the contracts of its family, so that a new plugin is one file and its test."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from tutelage import plugins


def part(family: str, name: str, attribute: str, default: Any = None) -> Any:
    """Return an attribute of a plugin's own tests, `tests/<family>/test_<name>.py`; `default` if there is none."""
    place = f"{plugins.folder(family)}/test_{plugins.stem(family, name)}"
    if not (Path(__file__).parent / f"{place}.py").is_file():
        return default
    return getattr(importlib.import_module(f"tests.{place.replace('/', '.')}"), attribute, default)


def with_their_skips(family: str) -> list[Any]:
    """Return the names of a family as parameters; each has the skip marks of its own tests, as for a package that is absent."""
    found = []
    for name in plugins.names(family):
        marks = part(family, name, "pytestmark", [])
        skips = [one for one in (marks if isinstance(marks, list) else [marks]) if one.name == "skipif"]
        found.append(pytest.param(name, marks=skips))
    return found
