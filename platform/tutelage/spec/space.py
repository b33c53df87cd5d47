"""The language of distributions: `float`, `int` and `choice`, anywhere in a tree of settings.

    temperature: {float: [1, 20], log: true}
    depth:       {int: [1, 4]}
    method:      {choice: {kd: {}, dkd: {beta: {float: [1, 8]}}}}     # beta is drawn only where dkd is chosen
    norm:        {choice: [l1, l2]}

A space knows no optimiser: `resolve` asks a callable for every value that is needed, and for no other.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from random import Random
from typing import Any

from tutelage.errors import nearest

Scalar = str | int | float | bool
KINDS = ("float", "int", "choice")
OPTIONS: dict[str, tuple[str, ...]] = {"float": ("log", "step"), "int": ("log", "step"), "choice": ()}


class SpaceError(ValueError):
    """A distribution that makes no sense; `path` is the dotted way to it, `parts` the same undotted (a name may hold dots)."""

    def __init__(self, parts: tuple[str, ...], value: Any, why: str) -> None:
        self.path = ".".join(parts)
        super().__init__(f"{self.path}: {why}")
        self.parts, self.value, self.why = parts, value, why


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
ChooseValue = Callable[[str, Domain], Any]


def is_distribution(node: Any) -> bool:
    """Return whether a mapping is meant as a distribution: a word of float, int, choice with a list (or branches) below it."""
    if not isinstance(node, Mapping):
        return False
    kinds = [kind for kind in KINDS if kind in node]
    if len(kinds) == 1 and set(node) <= {kinds[0], "log", "step"}:
        return True
    return any(isinstance(node[kind], list | Mapping if kind == "choice" else list) for kind in kinds)


def parse(node: Any, path: str = "") -> Any:
    """Return the tree with every distribution as a `Float`, `Int` or `Choice`; `SpaceError` for the first impossible one."""
    tree, problems = parse_all(node, (path,) if path else ())
    if problems:
        raise problems[0]
    return tree


def parse_all(node: Any, parts: tuple[str, ...] = ()) -> tuple[Any, list[SpaceError]]:
    """Return the tree as `parse` does, with None for every impossible distribution, and what is wrong with each."""
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
        raise SpaceError(parts, log, "log is true or false.")
    if low > high:
        raise SpaceError(parts, bounds, f"low {low:g} is above high {high:g}.")
    if log and low <= 0:
        raise SpaceError(parts, bounds, f"a logarithmic range starts above 0, not at {low:g}.")
    if step is not None:
        step = _number(step, number, parts)
        if log or step <= 0:
            raise SpaceError(parts, node["step"], "step and log exclude each other." if log else "step must be above 0.")
    return Float(low=low, high=high, log=log, step=step) if kind == "float" else Int(low=low, high=high, log=log, step=step)


def _number(value: Any, number: type, parts: tuple[str, ...]) -> Any:
    wanted = (int, float) if number is float else (int,)
    if isinstance(value, bool) or not isinstance(value, wanted) or not _is_finite(value):
        raise SpaceError(parts, value, f"{reprlib.repr(value)} is not a {'number' if number is float else 'whole number'}.")
    return number(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


@dataclass(frozen=True)
class Space:
    """A tree of settings in which some leaves are distributions, as `parse` gives it."""

    tree: Mapping[str, Any]

    def resolve(self, draw: ChooseValue) -> tuple[dict[str, Any], dict[str, Scalar]]:
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

    def traits(self, params: Mapping[str, Scalar]) -> list[float]:
        """Return searched values as numbers from 0 to 1, always as many.

        A range gives the place in it (in the logarithm with `log`), a choice of numbers its rank, any other choice a 1 at its
        label. What is inactive stands in the middle of its range.
        """
        return [number for name, domain in self.domains() for number in _traits(domain, params.get(name))]

    def names(self) -> list[str]:
        """Return the names of all distributions, active or not, in the tree's order."""
        return [name for name, _ in self.domains()]

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Give every distribution with its name, a choice before what lies in its branches."""
        yield from self._domains

    @cached_property
    def _domains(self) -> tuple[tuple[str, Domain], ...]:
        return tuple(_walk(self.tree, ""))

    def corners(self) -> Iterator[dict[str, Any]]:
        """Give configs that between them take the low and the high of every range and every branch of every choice.

        The first has the lows and first branches; each further one differs in one distribution (and its parents).
        """
        yield self.resolve(_lowest)[0]
        for name, domain in self.domains():
            ends = domain.labels[1:] if isinstance(domain, Choice) else (domain.high,)
            for end in ends:
                yield self.resolve(partial(_towards, name, end))[0]


def _traits(domain: Domain, value: Any) -> list[float]:
    if isinstance(domain, Choice):
        numbers = [label for label in domain.labels if isinstance(label, int | float)]
        if len(numbers) < len(domain.labels) or len(numbers) == 1:
            return [float(value == label) for label in domain.labels]
        return [0.5 if value is None else sorted(numbers).index(value) / (len(numbers) - 1)]
    if value is None or domain.low == domain.high:
        return [0.5]
    low, high, at = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, value))
    return [(at - low) / (high - low)]


def any_value(generator: Random, domain: Domain) -> Any:
    """Return a value of `domain`, drawn by `generator`."""
    if isinstance(domain, Choice):
        return generator.choice(domain.labels)
    low, high = domain.low, domain.high
    return nearest_value(domain, low * (high / low) ** generator.random() if domain.log else generator.uniform(low, high))


def nearest_value(domain: Float | Int, value: float) -> float | int:
    """Return the value of a range that is nearest to `value`: on its grid, within its ends, whole in an `Int`."""
    if domain.step is not None:
        value = domain.low + round((value - domain.low) / domain.step) * domain.step
    value = min(domain.high, max(domain.low, value))
    return float(value) if isinstance(domain, Float) else round(value)


def _lowest(name: str, domain: Domain) -> Any:
    return domain.labels[0] if isinstance(domain, Choice) else domain.low


def _towards(target: str, end: Any, name: str, domain: Domain) -> Any:
    """ChooseValue so that the distribution `target` is active and takes `end`."""
    if name == target:
        return end
    if isinstance(domain, Choice):
        for label in domain.labels:
            if target.startswith(f"{name}.{label}."):
                return label
    return _lowest(name, domain)


def _resolve(node: Any, path: str, draw: ChooseValue) -> Any:
    if isinstance(node, Choice):
        label = draw(path, node)
        return {label: _resolve(node.branches[label], f"{path}.{label}", draw)} if node.is_mapping else label
    if isinstance(node, Float | Int):
        return draw(path, node)
    if isinstance(node, Mapping):
        return {key: _resolve(value, f"{path}.{key}" if path else key, draw) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve(value, f"{path}.{i}", draw) for i, value in enumerate(node)]
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
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _walk(value, f"{path}.{i}")
