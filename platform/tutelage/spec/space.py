"""A search space: a tree of settings in which some leaves are distributions.

A space does not depend on an optimiser: `resolve` calls a function for every value that is needed, and for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from tutelage.spec.domains import Choice, Domain, Float, Int, Scalar, traits

ChooseValue = Callable[[str, Domain], Any]


@dataclass(frozen=True)
class Space:
    """A tree of settings in which some leaves are distributions, as `parse` gives it."""

    tree: Mapping[str, Any]

    def resolve(self, choose: ChooseValue) -> tuple[dict[str, Any], dict[str, Scalar]]:
        """Return (config, params): the tree with a value for every distribution, and the chosen values by name.

        `choose(name, domain)` is called once for each active distribution, by its dotted name, a choice before its branch.
        With `choose = lambda name, domain: params[name]` a config is built again from its params.
        """
        params: dict[str, Scalar] = {}

        def recorded(name: str, domain: Domain) -> Any:
            params[name] = choose(name, domain)
            return params[name]

        config = _resolve(self.tree, "", recorded)
        return config, params

    def traits(self, params: Mapping[str, Scalar]) -> list[float]:
        """Return searched values as numbers from 0 to 1, always as many (`domains.traits`)."""
        return [number for name, domain in self.domains() for number in traits(domain, params.get(name))]

    def names(self) -> list[str]:
        """Return the names of all distributions, active or not, in the tree's order."""
        return [name for name, _ in self.domains()]

    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Yield every distribution with its name, a choice before the distributions in its branches."""
        yield from self._domains

    @cached_property
    def _domains(self) -> tuple[tuple[str, Domain], ...]:
        return tuple(_walk(self.tree, ""))

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield configs that together have the low and the high of every range and every branch of every choice.

        The first has the lows and first branches; each other differs from it in one distribution (and its parents).
        """
        yield self.resolve(_lowest)[0]
        for name, domain in self.domains():
            ends = domain.labels[1:] if isinstance(domain, Choice) else (domain.high,)
            for end in ends:
                yield self.resolve(partial(_towards, name, end))[0]


def _lowest(name: str, domain: Domain) -> Any:
    return domain.labels[0] if isinstance(domain, Choice) else domain.low


def _towards(target: str, end: Any, name: str, domain: Domain) -> Any:
    """Return the value with which the distribution `target` is active and has the value `end`."""
    if name == target:
        return end
    if isinstance(domain, Choice):
        for label in domain.labels:
            if target.startswith(f"{name}.{label}."):
                return label
    return _lowest(name, domain)


def _resolve(node: Any, path: str, choose: ChooseValue) -> Any:
    if isinstance(node, Choice):
        label = choose(path, node)
        return {label: _resolve(node.branches[label], f"{path}.{label}", choose)} if node.is_mapping else label
    if isinstance(node, Float | Int):
        return choose(path, node)
    if isinstance(node, Mapping):
        return {key: _resolve(value, f"{path}.{key}" if path else key, choose) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve(value, f"{path}.{i}", choose) for i, value in enumerate(node)]
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
