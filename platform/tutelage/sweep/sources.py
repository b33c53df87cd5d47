"""One hash of the source code that can change a training's result: the files that it imports, and the plugins it uses.

A file is hashed by its syntax tree without docstrings, so comments and docstrings do not change the hash, nor do files that no
training imports, such as those of the report.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tutelage import plugins
from tutelage.sweep import own_sources

PACKAGE = Path(__file__).parents[1]


STARTS = {  # the entry files of the code that makes a teacher, a student or a view of knowledge
    "training": "training/student_jobs.py",
    "knowledge": "training/context.py",
}


FOLLOWED = (*plugins.FAMILIES, "networks", "training", "signature", "measure", "masks")  # no other room changes a result


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


def code_address(part: Part, plugins_used: frozenset[Plugin], package: Path = PACKAGE) -> str:
    """Return the hash (SHA-256, hex) of the code that makes a teacher or student (`training`), or `knowledge`.

    `package` is the directory of the package whose files are read. A user's own code is read at each call, because it may have
    changed.
    """
    own: dict[str, Path] = {}
    for _, name in plugins_used:
        if ":" in name:
            own |= own_sources.files_of(name.partition(":")[0])
    digest = hashlib.sha256()
    for module, file in sorted(own.items()):
        source = own_sources.source_of(file)
        digest.update(
            f"{module}\0{_tree(source) if source is not None else hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode()
        )
    digest.update(_package_address(part, plugins_used, frozenset(own.values()), package).encode())
    return digest.hexdigest()


@cache
def _package_address(part: Part, plugins_used: frozenset[Plugin], own: frozenset[Path], package: Path) -> str:
    """Return the hash of the files of the package that `part`, the plugins and the user's `own` files import."""
    built_in = [package / family / f"{plugins.stem(family, name)}.py" for family, name in plugins_used if ":" not in name]
    files = frozenset(package.rglob("*.py"))
    starts = [package / STARTS[part], *built_in]
    for path in own:
        starts += _imported(path, package, files)
    digest = hashlib.sha256()
    for path in sorted(_reachable(starts, package, files)):
        digest.update(f"{path.relative_to(package).as_posix()}\0{_tree(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def _reachable(starts: Iterable[Path], package: Path, files: frozenset[Path]) -> set[Path]:
    """Return the package's `files` that others of them import, `starts` included, with the `__init__` of every folder."""
    found: set[Path] = set()
    waiting = list(starts)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path, package, files)
    return found


def _imported(path: Path, package: Path, files: frozenset[Path]) -> list[Path]:
    modules = [name.split(".") for name in _modules(own_sources.source_of(path) or "")]
    ours = [module[1:] for module in modules if module[0] == "tutelage" and module[1:] and module[1] in FOLLOWED]
    ends = [package.joinpath(*module[:depth]) for module in ours for depth in range(1, len(module) + 1)]
    return [file for end in ends for file in (end.with_suffix(".py"), end / "__init__.py") if file in files]


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
