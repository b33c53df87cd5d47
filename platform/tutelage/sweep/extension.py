"""What the spec of a resumed sweep may change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import InputError
from tutelage.files import content_address
from tutelage.spec.spec import Spec

MORE = ("search.trials", "search.hours", "search.device_hours")  # a resumed sweep may have more of these


FREE = (
    "storage",  # the storage may have been moved
    "resources.teacher",
    "resources.trial",
    "select",
    "search.concurrency",
    "search.confirm",
    "search.checkpoint_epochs",
    "search.plateau",
    "knowledge.local_dir",
    "tracking.metrics_port",
    "tracking.metrics_host",
)


PATHS = r"(path|weights|tracking\.uri)$"  # settings with a path, which changes when the project is moved


def with_trials(spec: Spec, trials: str | int | None, before: int | None = None) -> Spec:
    """Return the spec with a total of `trials`, or with additional ones ("+50"); `InputError` for other text.

    Additional trials are added to `before`, the number before an extension that has not finished, so repeating it adds none.
    """
    if trials is None:
        return spec
    text, now = str(trials).strip(), before or spec.search.trials
    digits = text.removeprefix("+")
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0:
        raise InputError(f"--trials {trials}: write a total, such as 80, or additional trials, such as +50.")
    if text.startswith("+") and now is None:
        raise InputError(f"--trials {trials}: the sweep has no number of trials, only a limit of time. Write a total.")
    total = int(digits) + (now or 0 if text.startswith("+") else 0)
    return spec.model_copy(update={"search": spec.search.model_copy(update={"trials": total})})


def check_extends(before: Spec, wanted: Spec) -> None:
    """Raise `InputError` with every difference, unless `wanted` is `before` with a longer search.

    The resources of jobs and the section `select` may also differ.
    """
    differences = [
        (name, old, new)
        for name, old, new in _differences(before.kept(), wanted.kept())
        if not _is_free(name) and not (name in MORE and (new is None or (old is not None and new >= old)))
    ]
    if differences:
        listed = "\n".join(f"  {name}: {old} → {new}" for name, old, new in differences)
        raise InputError(
            f"the spec differs from that of sweep '{before.name}'; a resumed sweep may only have more {', '.join(MORE)}:\n"
            f"{listed}\nUndo these changes, or start a sweep with another name."
        )


def address_of(spec: Spec) -> str:
    """Return the content address of everything that a resumed sweep may not change, except paths."""
    fixed = {name: value for name, value in _leaves(spec.kept()) if not _is_free(name) and name not in MORE}
    fixed = {name: value for name, value in fixed.items() if not re.search(PATHS, name)}
    return content_address(kind="spec", fixed=fixed)


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in FREE)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a tree with its dotted name."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before and after:
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield path, before, after
