"""A sweep's spec, read strictly; all problems of a file are reported together.

Under `student`, `distillation` and `sparsity` a distribution may stand for any value; a spec therefore holds these three as
trees, and `trial_config` checks what a trial resolved them to. At loading, the corners of the space are checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tutelage.errors import InputError, Problem, SpecError, UnreachableError
from tutelage.files import read_text
from tutelage.measure import Measure
from tutelage.redaction import HIDDEN, redact
from tutelage.spec import distributions
from tutelage.spec.checks import (
    is_below,
    listed_problems,
    meaning_problems,
    measures_named,
    reference_problems,
    searchable_problems,
)
from tutelage.spec.paths import sqlite_uri
from tutelage.spec.spec import SEARCHABLE, Spec
from tutelage.spec.yaml_lines import Document, parse_value
from tutelage.storage import open_storage
from tutelage.validation import Finding, findings

CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN")  # MLflow reads them itself, for a server


def load(path: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """Return the spec in a YAML file, `overrides` ("a.b=value") put over it; `SpecError` lists all its problems."""
    document = Document(read_text(Path(path)), str(path))
    overridden = [_override(document.tree, override) for override in overrides]
    return _checked(document.tree, str(path), document, overridden)


def from_dict(tree: Mapping[str, Any]) -> Spec:
    """Return the spec that a mapping holds, as the YAML file would."""
    return _checked(_copied(tree), "spec", None, [])


def _copied(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list | tuple) else node


def _override(tree: dict[str, Any], override: str) -> tuple[str, ...]:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise InputError(f"--set {override}: write key=value, such as --set search.trials=50.")
    node: Any = tree
    for part in path[:-1]:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: '{part}' holds a value, not settings. Set it whole.")
    try:
        node[path[-1]] = parse_value(text)
    except InputError as error:
        raise InputError(f"--set {override:.200}: {error}") from None
    return path


def _checked(tree: dict[str, Any], source: str, document: Document | None, overridden: Sequence[tuple[str, ...]]) -> Spec:
    misplaced = list(_misplaced(tree))
    measures = measures_named(tree)
    _fill_objectives(tree, measures)
    precise = [*misplaced, *listed_problems(tree, measures), *searchable_problems(tree), *reference_problems(tree)]
    spec, general = None, []
    try:
        spec = Spec.model_validate(tree, context={"measures": measures})
    except ValidationError as error:
        general = findings(error, Spec)
    raw = precise + [issue for issue in general if not _is_covered(issue[0], precise)]
    if spec is not None:
        raw += meaning_problems(spec)
    raw = [issue for issue in raw if issue in misplaced or not any(is_below(issue[0], path) for path, *_ in misplaced)]
    found = [*(document.duplicates if document else []), *(_problem(issue, document, overridden) for issue in _once(raw))]
    if spec is None or found:
        raise SpecError(source, sorted(found, key=lambda problem: problem.line or 0))
    return spec


def _fill_objectives(tree: dict[str, Any], measures: Mapping[str, Measure]) -> None:
    """Write the default objectives into a spec that names none: the task's primary measure and params."""
    if isinstance(tree.setdefault("search", {}), dict):
        tree["search"].setdefault("objectives", [next(iter(measures)), "params"])


def _is_covered(path: tuple[str, ...], precise: Sequence[Finding]) -> bool:
    """Return whether a more exact word about the same setting is there."""
    return any(is_below(path, other) or (path[0] not in SEARCHABLE and is_below(other, path)) for other, *_ in precise)


def _once(raw: Sequence[Finding]) -> Iterator[Finding]:
    seen = set()
    for path, value, why in raw:
        if (path, why) not in seen:
            seen.add((path, why))
            yield path, value, why


def _problem(issue: Finding, document: Document | None, overridden: Sequence[tuple[str, ...]]) -> Problem:
    path, value, why = issue
    made = document is not None and not document.has(path)  # a section that only an option brought
    by_option = any(is_below(path, option) or (made and is_below(option, path)) for option in overridden)
    line = document.line_of(path) if document and not by_option else None
    return Problem(("--set " if by_option else "") + ".".join(path), line, value, why)


def _misplaced(node: Any, path: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Give every distribution outside the searchable sections."""
    if path and path[0] in SEARCHABLE:
        return
    if path and distributions.is_distribution(node):
        yield path, node, f"a distribution may stand only under {', '.join(SEARCHABLE)}. Write one value."
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _misplaced(value, (*path, str(key)))


def tracking_uri(spec: Spec) -> str:
    """Return the spec's MLflow URI, by default that of a database in its storage; raises as `whole_uri` does."""
    return whole_uri(spec.tracking.uri) if spec.tracking.uri else default_tracking_uri(spec.storage)


def whole_uri(kept: str) -> str:
    """Return a tracking URI with the user and password that a sweep does not keep on disk: they come from the environment.

    Raises `UnreachableError` if they are not there.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if HIDDEN not in kept or (given and redact(given) == kept):
        return kept if HIDDEN not in kept else given
    without, is_server = kept.replace(f"{HIDDEN}@", ""), kept.startswith(("http://", "https://"))
    if is_server and HIDDEN not in without and any(name in os.environ for name in CREDENTIALS):
        return without
    also = f", or {CREDENTIALS[0]} and MLFLOW_TRACKING_PASSWORD, or {CREDENTIALS[1]}" if is_server else ""
    raise UnreachableError(
        f"the sweep keeps its tracking URI, {kept}, without user and password. Set MLFLOW_TRACKING_URI to the whole URI{also}."
    )


def default_tracking_uri(storage: str | Path) -> str:
    """Return the URI of the SQLite database that MLflow uses where no other is named: `sqlite:///<storage>/mlflow.db`."""
    return sqlite_uri(open_storage(storage).writable_path("mlflow.db"))
