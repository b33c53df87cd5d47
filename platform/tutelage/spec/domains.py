"""The values that one searched setting can have: a range of numbers, or a choice.

A range with a step is a grid: low, low + step, low + 2 step, …, as decimal numbers, so that 0.2 after two steps of 0.2 is 0.6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Float:
    """A real number from `low` to `high`, both included; uniform in the logarithm with `log`, on a grid with `step`.

    With a step, `high` is on the grid (`last_of_grid`).
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True, kw_only=True)
class Int:
    """A whole number from `low` to `high`, both included; with a step, `high` is on the grid."""

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


def any_value(generator: Random, domain: Domain) -> Any:
    """Return a random value of a domain."""
    if isinstance(domain, Choice):
        return generator.choice(domain.labels)
    low, high = domain.low, domain.high
    return nearest_value(domain, low * (high / low) ** generator.random() if domain.log else generator.uniform(low, high))


def nearest_value(domain: Float | Int, value: float) -> float | int:
    """Return the value of a range that is nearest to `value`: on its grid, within its ends, whole in an `Int`."""
    value = min(domain.high, max(domain.low, value))
    if domain.step is not None:
        return _grid_value(domain, round((value - domain.low) / domain.step))
    return float(value) if isinstance(domain, Float) else round(value)


def value_near(domain: Domain, value: Any) -> Any:
    """Return the value of the domain nearest to `value`; None if `value` is outside its range, or is none of its labels.

    A grid's range is taken to reach to the next step above its last value, as a spec may contain it.
    """
    if isinstance(domain, Choice):
        same = (label for label in domain.labels if label == value and isinstance(label, bool) == isinstance(value, bool))
        return next(same, None)
    if not is_number(value):
        return None
    is_inside = domain.low <= value <= domain.high or domain.high < value < domain.high + (domain.step or 0)
    return nearest_value(domain, value) if is_inside else None


def has(domain: Domain, value: Any) -> bool:
    """Return whether the domain has a value; a number may differ by rounding, and in its type."""
    near = value_near(domain, value)
    return near is not None and (
        isinstance(domain, Choice) or math.isclose(near, value, rel_tol=1e-9, abs_tol=1e-9 * (domain.step or 0))
    )


def is_number(value: Any) -> bool:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def last_of_grid(low: float, high: float, step: float) -> float:
    """Return the largest value of the grid from `low` that is not above `high`."""
    count = (_decimal(high) - _decimal(low)) // _decimal(step)
    return type(low)(_decimal(low) + count * _decimal(step))


def traits(domain: Domain, value: Any) -> list[float]:
    """Return a value as numbers from 0 to 1, always as many for a domain; None is an inactive value.

    A range gives the position in it (in the logarithm with `log`), a choice of numbers its rank, any other choice a 1 at its
    label. An inactive value is in the middle.
    """
    if isinstance(domain, Choice):
        numbers = [label for label in domain.labels if isinstance(label, int | float)]
        if len(numbers) < len(domain.labels) or len(numbers) == 1:
            return [float(value == label) for label in domain.labels]
        return [0.5 if value is None else sorted(numbers).index(value) / (len(numbers) - 1)]
    if value is None or domain.low == domain.high:
        return [0.5]
    low, high, at = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, value))
    return [(at - low) / (high - low)]


def _grid_value(domain: Float | Int, index: int) -> float | int:
    assert domain.step is not None
    return type(domain.low)(_decimal(domain.low) + index * _decimal(domain.step))


def _decimal(number: float) -> Decimal:
    """Return the number as its shortest decimal, as a spec has it."""
    return Decimal(repr(number))
