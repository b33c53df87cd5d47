"""The source code that can change a training's result, as one hash: what a training imports, and the plugins it uses.

A file counts by its syntax tree without docstrings, so comments and docstrings change nothing, and neither does a file that no
training imports, such as a report's.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tutelage import plugins

PACKAGE = Path(__file__).parents[1]


STARTS = {  # where the code begins that makes a teacher, a student or a view of knowledge
    "training": "training/student_jobs.py",
    "knowledge": "training/context.py",
}


FOLLOWED = (*plugins.FAMILIES, "networks", "training", "signature", "measure")  # others cannot change a result, or are values


_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


Part = Literal["training", "knowledge"]
Plugin = tuple[str, str]  # a family and a name in it


def used(family: str, reference: Any) -> frozenset[Plugin]:
    """Return the plugins of a family that a reference names, those in its options (such as a mixture's terms) included."""
    name, options = plugins.parse_reference(reference)
    return frozenset((family, found) for found in [name, *_names_in(family, options)])


def _names_in(family: str, options: Any) -> Iterator[str]:
    if isinstance(options, dict):
        for key, value in options.items():
            yield from _names_in(family, key)
            yield from _names_in(family, value)
    elif isinstance(options, list | tuple):
        for value in options:
            yield from _names_in(family, value)
    elif isinstance(options, str) and (options in plugins.names(family) or _is_module(options)):
        yield options


def _is_module(text: str) -> bool:
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


@cache
def code_address(part: Part, plugins_used: frozenset[Plugin], package: Path = PACKAGE) -> str:
    """Return the hash (SHA-256, hex) of the code that makes a teacher or student (`training`), or `knowledge`.

    `package` is the directory of the package whose files are read.
    """
    starts = [package / STARTS[part], *(_file_of(family, name, package) for family, name in plugins_used)]
    digest = hashlib.sha256()
    for path in sorted(_reachable(starts, package)):
        place = path.relative_to(package).as_posix() if path.is_relative_to(package) else path.name
        digest.update(f"{place}\0{_tree(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def _file_of(family: str, name: str, package: Path) -> Path:
    """Return a plugin's file: one of the package, or that of the module of a user's `module:Name`."""
    if ":" not in name:
        return package / family / f"{plugins.stem(family, name)}.py"
    found = importlib.util.find_spec(name.partition(":")[0])
    assert found is not None and found.origin is not None, f"{name} has been loaded before"
    return Path(found.origin)


def _reachable(starts: Iterable[Path], package: Path) -> set[Path]:
    """Return the files that are imported by others of them, `starts` included, with the `__init__` of every folder."""
    found: set[Path] = set()
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, package)
    return found


def _imported(path: Path, package: Path) -> list[Path]:
    modules = [name.split(".") for name in _modules(path.read_text(encoding="utf-8"))]
    ours = [module[1:] for module in modules if module[0] == "tutelage" and module[1:] and module[1] in FOLLOWED]
    ends = [package.joinpath(*module[:depth]) for module in ours for depth in range(1, len(module) + 1)]
    candidates = [file for end in ends for file in (end.with_suffix(".py"), end / "__init__.py")]
    return [file for file in candidates if file.is_file()]


@cache
def _modules(source: str) -> frozenset[str]:
    """Return the full names of what a file imports, modules or names in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found)


@cache
def _tree(source: str) -> str:
    """Return the hash of a file's syntax tree without docstrings and line numbers."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
