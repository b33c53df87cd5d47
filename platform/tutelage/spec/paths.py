"""The paths in a spec: a relative one is seen from the directory in which its sweep was started, wherever a command runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.files import expanded
from tutelage.plugins import Reference
from tutelage.spec.sections import TeacherConfig
from tutelage.spec.spec import Spec

SQLITE = "sqlite:///"


Change = Callable[[str], str]


def located(spec: Spec, directories: Sequence[Path]) -> Spec:
    """Return the spec with absolute paths: each relative one is seen from the first of `directories` that has it.

    One that is in none of them is seen from the first. `~` is a home directory. URIs are left, but for those of SQLite files.
    """
    return _with_paths(spec, lambda path: _place(path, directories))


def seen_from(spec: Spec, directory: Path) -> Spec:
    """Return the spec with every path below `directory` relative to it, so that both can be moved."""

    def shorter(path: str) -> str:
        return os.path.relpath(path, directory) if Path(path).is_relative_to(directory) else path

    return _with_paths(spec, shorter)


def located_data(reference: Reference, directories: Sequence[Path]) -> Reference:
    """Return a data reference with absolute paths, as `located` has them."""
    return _data(reference, lambda path: _place(path, directories))


def data_seen_from(reference: Reference, directory: Path) -> Reference:
    """Return a data reference whose paths, here relative to the working directory, are relative to `directory`."""
    return _data(reference, lambda path: os.path.relpath(expanded(path).absolute(), directory.resolve()))


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite URI; None for another URI, and for a database in memory."""
    if not uri.startswith(SQLITE) or uri.partition("?")[0] in (SQLITE, f"{SQLITE}:memory:"):
        return None
    if "%" not in uri and "?" not in uri:
        return Path(uri.removeprefix(SQLITE))
    from sqlalchemy import make_url  # slow to import, and needed for such paths only

    return Path(str(make_url(uri).database))


def sqlite_uri(path: Path) -> str:
    """Return the URI of an SQLite file; `%` and `?` are quoted as SQLAlchemy reads them, and nothing else is."""
    return f"{SQLITE}{path}" if sqlite_path(f"{SQLITE}{path}") == path else f"{SQLITE}{_quoted(str(path))}"


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3F")


def _with_paths(spec: Spec, change: Change) -> Spec:
    tracking, local_dir = spec.tracking, spec.knowledge.local_dir
    if tracking.uri and (database := sqlite_path(tracking.uri)):
        query = tracking.uri.partition("?")[1:]
        uri = sqlite_uri(Path(change(str(database)))) + ("".join(query) if query[1] else "")
        tracking = tracking.model_copy(update={"uri": uri})
    return spec.model_copy(update={
        "data": _data(spec.data, change),
        "student": _student(spec.student, change),
        "teacher": _teacher(spec.teacher, change),
        "more_teachers": [_teacher(teacher, change) for teacher in spec.more_teachers],
        "knowledge": spec.knowledge.model_copy(update={"local_dir": local_dir and change(local_dir)}),
        "tracking": tracking,
    })  # fmt: skip


def _student(student: dict[str, Any], change: Change) -> dict[str, Any]:
    weights = student.get("weights")
    located = {**student, "weights": change(weights)} if isinstance(weights, str) else student
    return {**located, "model": _model(student["model"], change)} if "model" in student else located


def located_model(reference: Reference, directories: Sequence[Path]) -> Reference:
    """Return a model reference with absolute paths, as `located` has them."""
    found: Reference = _model(reference, lambda path: _place(path, directories))
    return found


def _model(value: Any, change: Change) -> Any:
    """Return a model reference, or a choice of several, with each `path` of their options changed."""
    if isinstance(value, Mapping):
        return {
            key: change(one) if _is_path(str(key)) and isinstance(one, str) else _model(one, change)
            for key, one in value.items()
        }
    return [_model(one, change) for one in value] if isinstance(value, list) else value


def located_start(spec: Spec) -> Path | None:
    """Return the absolute path of the weights that every student starts from, None without any; `InputError` for several."""
    weights = spec.student.get("weights")
    if weights is None:
        return None
    if not isinstance(weights, str):
        raise InputError("student.weights cannot be searched: it is one file or directory. Start a sweep for each.")
    return Path(_place(weights, [Path.cwd()]))


def _teacher(teacher: TeacherConfig, change: Change) -> TeacherConfig:
    source = teacher.source and teacher.source.model_copy(update={"data": _data(teacher.source.data, change)})
    return teacher.model_copy(update={
        "path": teacher.path and change(teacher.path), "weights": teacher.weights and change(teacher.weights),
        "source": source, "model": _model(teacher.model, change),
    })  # fmt: skip


def _data(reference: Reference, change: Change) -> Reference:
    name, options = plugins.parse_reference(reference)
    paths = {key: change(value) for key, value in options.items() if _is_path(key) and isinstance(value, str)}
    return {name: {**options, **paths}} if paths else reference


def _is_path(option: str) -> bool:
    return option == "path" or option.endswith("_path")


def _place(path: str, directories: Sequence[Path]) -> str:
    if path.startswith(("models:/", "runs:/")) or "://" in path:
        return path
    given = expanded(path)
    there = next((one for one in directories if (one / given).exists()), directories[0])
    return os.path.normpath(there / given)
