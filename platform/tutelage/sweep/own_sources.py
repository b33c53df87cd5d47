"""The files of a user's own code: the module of a plugin, and the modules of the user's that it imports, directly or not."""

from __future__ import annotations

import ast
import site
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGE_NAME = "tutelage"


def files_of(module: str) -> dict[str, Path]:
    """Return the files of `module` and of the user's modules that it imports, by name, with the `__init__` of every package.

    Of installed modules, only those of the same top-level package are among them.
    """
    found: dict[str, Path] = {}
    waiting = list(_with_parents(module))
    while waiting:
        name = waiting.pop()
        if name in found or (file := _file_of(name)) is None:
            continue
        if name.partition(".")[0] == module.partition(".")[0] or not _is_installed(file):
            found[name] = file
            waiting += _imported(name, file)
    return found


def source_of(file: Path) -> str | None:
    """Return the text of a Python file; None for a file that is not one, such as a compiled extension."""
    try:
        text = file.read_text(encoding="utf-8")
    except ValueError:
        return None
    return text if _is_python(text) else None


@cache
def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (ValueError, SyntaxError):
        return False
    return True


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _file_of(module: str) -> Path | None:
    """Return where a module is found, without importing it or its package; None for built-in modules and missing ones."""
    top, *rest = module.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None:
        return None
    file = Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    for name in rest:
        places = [folder / part for folder in folders for part in (f"{name}/__init__.py", f"{name}.py")]
        places += [place for folder in folders for place in sorted(folder.glob(f"{name}.*.so"))]
        file = next((place for place in places if place.is_file()), None)
        folders = [folder / name for folder in folders if (folder / name).is_dir()]
    return file


@cache
def _installed_folders() -> tuple[Path, ...]:
    folders = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(folder).resolve() for folder in folders if "python" in folder)


def _is_installed(file: Path) -> bool:
    return any(file.resolve().is_relative_to(folder) for folder in _installed_folders())


def _imported(module: str, file: Path) -> list[str]:
    """Return the names of the modules that a file may import, those of names in them included."""
    text = source_of(file)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = _names(text, package) if text is not None else frozenset()
    return [name for full in names if full.partition(".")[0] != PACKAGE_NAME for name in _with_parents(full)]


@cache
def _names(source: str, package: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")}
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in ("import_module", "__import__"):
            argument = node.args[0]
            found |= {argument.value} if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else set()
    return frozenset(name for name in found if name and not name.startswith("."))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the full name of the module that names are imported from."""
    parents = package.split(".") if package else []
    above = parents[: len(parents) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
