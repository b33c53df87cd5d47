"""The language of distributions: `float`, `int` and `choice`, anywhere in a tree of settings.

temperature: {float: [1, 20], log: true}
depth:       {int: [1, 4]}
method:      {choice: {kd: {}, dkd: {beta: {float: [1, 8]}}}}     # beta is searched only where dkd is chosen
norm:        {choice: [l1, l2]}
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from tutelage.errors import nearest
from tutelage.spec.domains import Choice, Domain, Float, Int, is_number, last_of_grid
from tutelage.validation import BOOLEAN, NUMBER, WHOLE, way_out

LARGEST = 2**53  # up to it, a float holds every whole number
KINDS = ("float", "int", "choice")
OPTIONS: dict[str, tuple[str, ...]] = {"float": ("log", "step"), "int": ("log", "step"), "choice": ()}


class SpaceError(ValueError):
    """An invalid distribution; `path` is its dotted path, `parts` the path's names (a name may contain dots)."""

    def __init__(self, parts: tuple[str, ...], value: Any, why: str) -> None:
        self.path = ".".join(parts)
        super().__init__(f"{self.path}: {why}")
        self.parts, self.value, self.why = parts, value, why


def is_distribution(node: Any) -> bool:
    """Return whether a mapping is meant as a distribution: one of float, int, choice with a list (or branches) below it."""
    if not isinstance(node, Mapping):
        return False
    kinds = [kind for kind in KINDS if kind in node]
    if len(kinds) == 1 and set(node) <= {kinds[0], "log", "step"}:
        return True
    return any(isinstance(node[kind], list | Mapping if kind == "choice" else list) for kind in kinds)


def parse(node: Any, path: str = "") -> Any:
    """Return the tree with every distribution as a `Float`, `Int` or `Choice`; `SpaceError` for the first invalid one."""
    tree, problems = parse_all(node, (path,) if path else ())
    if problems:
        raise problems[0]
    return tree


def parse_all(node: Any, parts: tuple[str, ...] = ()) -> tuple[Any, list[SpaceError]]:
    """Return the tree as `parse` does, with None for every invalid distribution, and the errors."""
    problems: list[SpaceError] = []
    return _parse(node, parts, problems), problems


def _parse(node: Any, parts: tuple[str, ...], problems: list[SpaceError]) -> Any:
    if is_distribution(node):
        try:
            return _domain(node, parts, problems)
        except SpaceError as problem:
            problems.append(problem)
            return None
    if isinstance(node, Mapping):
        return {key: _parse(value, (*parts, str(key)), problems) for key, value in node.items()}
    if isinstance(node, list):
        return [_parse(value, (*parts, str(i)), problems) for i, value in enumerate(node)]
    return node


def _domain(node: Mapping[str, Any], parts: tuple[str, ...], problems: list[SpaceError]) -> Domain:
    kinds = [kind for kind in KINDS if kind in node]
    if len(kinds) > 1:
        raise SpaceError(parts, dict(node), f"{' and '.join(kinds)} exclude each other.")
    kind = kinds[0]
    if unknown := [key for key in node if key not in (kind, *OPTIONS[kind])]:
        hint = nearest(str(unknown[0]), OPTIONS[kind])
        raise SpaceError(parts, dict(node), f"a {kind} takes no '{unknown[0]}'.{hint}")
    return _choice(node["choice"], parts, problems) if kind == "choice" else _range(kind, node, parts)


def _choice(branches: Any, parts: tuple[str, ...], problems: list[SpaceError]) -> Choice:
    if isinstance(branches, Mapping) and branches:
        return Choice(
            branches={label: _branch(subtree, (*parts, str(label)), problems) for label, subtree in branches.items()},
            is_mapping=True,
        )
    if not isinstance(branches, list) or not branches:
        raise SpaceError(parts, branches, "a choice needs a list, or a mapping of names to settings, that is not empty.")
    if odd := [b for b in branches if not isinstance(b, str | int | float | bool)]:
        raise SpaceError(parts, odd[0], "a choice's list holds words, numbers and true or false; for settings use a mapping.")
    if odd := [b for b in branches if not isinstance(b, str) and not _is_finite(b)]:
        raise SpaceError(parts, odd[0], "a choice's numbers are finite.")
    if len(set(branches)) < len(branches):
        raise SpaceError(parts, branches, "a choice names each branch once; 1, 1.0 and true are the same to it.")
    return Choice(branches={branch: branch for branch in branches}, is_mapping=False)


def _branch(subtree: Any, parts: tuple[str, ...], problems: list[SpaceError]) -> Any:
    if subtree is not None and not isinstance(subtree, Mapping):
        problems.append(SpaceError(parts, subtree, "a branch holds settings, {} for none; for plain values write a list."))
    return _parse(subtree, parts, problems) if isinstance(subtree, Mapping) else {}


def _range(kind: str, node: Mapping[str, Any], parts: tuple[str, ...]) -> Float | Int:
    number = float if kind == "float" else int
    bounds = node[kind]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise SpaceError(parts, bounds, f"a {kind} needs [low, high].")
    low, high = (_number(bound, number, parts) for bound in bounds)
    log = node.get("log", False)
    step = node.get("step")
    if not isinstance(log, bool):
        raise SpaceError(parts, log, f"log is {BOOLEAN}.{way_out(log, BOOLEAN)}")
    if low > high:
        raise SpaceError(parts, bounds, f"low {low:g} is above high {high:g}.")
    if log and low <= 0:
        raise SpaceError(parts, bounds, f"a logarithmic range starts above 0, not at {low:g}.")
    if step is not None:
        step = _number(step, number, parts)
        if log or step <= 0:
            raise SpaceError(parts, node["step"], "step and log exclude each other." if log else "step must be above 0.")
        high = last_of_grid(low, high, step)
    return Float(low=low, high=high, log=log, step=step) if kind == "float" else Int(low=low, high=high, log=log, step=step)


def _number(value: Any, number: type, parts: tuple[str, ...]) -> Any:
    wanted = (int, float) if number is float else (int,)
    if not is_number(value) or not isinstance(value, wanted) or not _is_finite(value):
        kind = NUMBER if number is float else WHOLE
        raise SpaceError(parts, value, f"{reprlib.repr(value)} is not {kind}.{way_out(value, kind)}")
    if number is int and abs(value) > LARGEST:
        raise SpaceError(parts, value, f"a whole number is at most {LARGEST:,}. For larger ones use a float.")
    return number(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
