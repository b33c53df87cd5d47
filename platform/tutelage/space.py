"""The language of distributions: `float`, `int` and `choice`, anywhere in a tree of settings.

    temperature: {float: [1, 20], log: true}
    depth:       {int: [1, 4]}
    method:      {choice: {kd: {}, dkd: {beta: {float: [1, 8]}}}}     # beta is drawn only where dkd is chosen
    norm:        {choice: [l1, l2]}

A space knows no optimiser: `resolve` asks a callable for every value that is needed, and for no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Scalar = str | int | float | bool
KINDS = ("float", "int", "choice")
OPTIONS = {"float": ("log", "step"), "int": ("log", "step"), "choice": ()}


class SpaceError(ValueError):
    """A distribution that makes no sense; `path` is the dotted way to it."""

    def __init__(self, path: str, value: Any, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.value, self.why = path, value, why


@dataclass(frozen=True, kw_only=True)
class Float:
    """A real number from `low` to `high`, both included; uniform in the logarithm with `log`, on a grid with `step`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True, kw_only=True)
class Int:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several branches: for a list, `label` and value are the same; for a mapping, a label has a subtree."""

    branches: Mapping[Scalar, Any] = field(hash=False)
    is_mapping: bool

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """The labels, in their order in the spec."""
        return tuple(self.branches)


Domain = Float | Int | Choice
Draw = Callable[[str, Domain], Any]


def is_distribution(node: Any) -> bool:
    """Return whether a mapping is meant as a distribution: it has one of the words float, int, choice, and no name else."""
    if not isinstance(node, Mapping):
        return False
    kinds = [kind for kind in KINDS if kind in node]
    return len(kinds) == 1 and set(node) <= {kinds[0], "log", "step"}


def parse(node: Any, path: str = "") -> Any:
    """Return the tree with every distribution as a `Float`, `Int` or `Choice`; `SpaceError` for an impossible one."""
    if is_distribution(node):
        return _domain(node, path)
    if isinstance(node, Mapping):
        return {key: parse(value, f"{path}.{key}" if path else str(key)) for key, value in node.items()}
    return node


def _domain(node: Mapping[str, Any], path: str) -> Domain:
    kind = next(kind for kind in KINDS if kind in node)
    unknown = set(node) - {kind, *OPTIONS[kind]}
    if unknown:
        raise SpaceError(path, dict(node), f"a {kind} takes no '{sorted(unknown)[0]}'.")
    return _choice(node["choice"], path) if kind == "choice" else _range(kind, node, path)


def _choice(branches: Any, path: str) -> Choice:
    if isinstance(branches, Mapping) and branches:
        return Choice(
            branches={label: parse(subtree or {}, f"{path}.{label}") for label, subtree in branches.items()},
            is_mapping=True,
        )
    if not isinstance(branches, list) or not branches:
        raise SpaceError(path, branches, "a choice needs a list, or a mapping of names to settings, that is not empty.")
    if odd := [b for b in branches if not isinstance(b, str | int | float | bool)]:
        raise SpaceError(path, odd[0], "a choice's list holds words, numbers and true or false; for settings use a mapping.")
    if len({(type(b), b) for b in branches}) < len(branches):
        raise SpaceError(path, branches, "a choice names each branch once.")
    return Choice(branches={branch: branch for branch in branches}, is_mapping=False)


def _range(kind: str, node: Mapping[str, Any], path: str) -> Float | Int:
    number = float if kind == "float" else int
    bounds = node[kind]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise SpaceError(path, bounds, f"a {kind} needs [low, high].")
    low, high = (_number(bound, number, path) for bound in bounds)
    log = node.get("log", False)
    step = node.get("step")
    if not isinstance(log, bool):
        raise SpaceError(path, log, "log is true or false.")
    if low > high:
        raise SpaceError(path, bounds, f"low {low:g} is above high {high:g}.")
    if log and low <= 0:
        raise SpaceError(path, bounds, f"a logarithmic range starts above 0, not at {low:g}.")
    if step is not None:
        step = _number(step, number, path)
        if log or step <= 0:
            raise SpaceError(path, node["step"], "step and log exclude each other." if log else "step must be above 0.")
    return Float(low=low, high=high, log=log, step=step) if kind == "float" else Int(low=low, high=high, log=log, step=step)


def _number(value: Any, number: type, path: str) -> Any:
    wanted = (int, float) if number is float else (int,)
    if isinstance(value, bool) or not isinstance(value, wanted) or not math.isfinite(value):
        raise SpaceError(path, value, f"{value!r} is not a {'number' if number is float else 'whole number'}.")
    return number(value)


@dataclass(frozen=True)
class Space:
    """A tree of settings in which some leaves are distributions, as `parse` gives it."""

    tree: Mapping[str, Any]

    def resolve(self, draw: Draw) -> tuple[dict[str, Any], dict[str, Scalar]]:
        """Return (config, params): the tree with every distribution drawn, and the flat values drawn.

        `draw(name, domain)` is asked once for each active distribution, by its dotted name, a choice before its branch.
        With `draw = lambda name, domain: params[name]` a config is made again from its params.
        """
        params: dict[str, Scalar] = {}

        def recorded(name: str, domain: Domain) -> Any:
            params[name] = draw(name, domain)
            return params[name]

        config = _resolve(self.tree, "", recorded)
        return config, params

    def names(self) -> list[str]:
        """Return the names of all distributions, active or not, in the tree's order."""
        return [name for name, _ in self.domains()]

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Give every distribution with its name, a choice before what lies in its branches."""
        yield from _walk(self.tree, "")

    def corners(self) -> Iterator[dict[str, Any]]:
        """Give configs that between them take the low and the high of every range and every branch of every choice.

        The first has the lows and first branches; each further one differs in one distribution (and its parents).
        """
        yield self.resolve(_lowest)[0]
        for name, domain in self.domains():
            ends = domain.labels[1:] if isinstance(domain, Choice) else (domain.high,)
            for end in ends:
                yield self.resolve(partial(_towards, name, end))[0]


def _lowest(name: str, domain: Domain) -> Any:
    return domain.labels[0] if isinstance(domain, Choice) else domain.low


def _towards(target: str, end: Any, name: str, domain: Domain) -> Any:
    """Draw so that the distribution `target` is active and takes `end`."""
    if name == target:
        return end
    if isinstance(domain, Choice):
        for label in domain.labels:
            if target.startswith(f"{name}.{label}."):
                return label
    return _lowest(name, domain)


def _resolve(node: Any, path: str, draw: Draw) -> Any:
    if isinstance(node, Choice):
        label = draw(path, node)
        return {label: _resolve(node.branches[label], f"{path}.{label}", draw)} if node.is_mapping else label
    if isinstance(node, Float | Int):
        return draw(path, node)
    if isinstance(node, Mapping):
        return {key: _resolve(value, f"{path}.{key}" if path else key, draw) for key, value in node.items()}
    return node


def _walk(node: Any, path: str) -> Iterator[tuple[str, Domain]]:
    if isinstance(node, Float | Int | Choice):
        yield path, node
    if isinstance(node, Choice) and node.is_mapping:
        for label, subtree in node.branches.items():
            yield from _walk(subtree, f"{path}.{label}")
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, f"{path}.{key}" if path else key)
