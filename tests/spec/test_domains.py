"""Values of ranges and choices: grids of decimal numbers, nearest values, and which values a domain contains."""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tutelage.spec.distributions import parse
from tutelage.spec.domains import Float, Int, any_value, has, nearest_value, value_near

EVERYDAY: dict[str, tuple[dict[str, Any], list[float]]] = {
    "fifths": ({"float": [0, 1], "step": 0.2}, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    "tenths": ({"float": [0.1, 0.7], "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
    "odd": ({"float": [1, 20], "step": 2}, [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0, 19.0]),
    "eights": ({"int": [10, 64], "step": 8}, [10, 18, 26, 34, 42, 50, 58]),
    "sixteens": ({"int": [16, 64], "step": 16}, [16, 32, 48, 64]),
    "wider than the range": ({"float": [0.0, 0.5], "step": 0.7}, [0.0]),
    "small": ({"float": [0.0, 3e-4], "step": 1e-4}, [0.0, 1e-4, 2e-4, 3e-4]),
    "below zero": ({"float": [-0.3, 0.3], "step": 0.3}, [-0.3, 0.0, 0.3]),
}
STEPS = st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.7, 1e-3, 2.0])


@pytest.mark.parametrize(("node", "grid"), EVERYDAY.values(), ids=EVERYDAY)
def test_a_range_with_a_step_has_the_numbers_of_its_grid(node: dict[str, Any], grid: list[float]) -> None:
    domain = parse(node)
    assert (domain.low, domain.high) == (grid[0], grid[-1])
    between = [grid[0] + (grid[-1] - grid[0]) * share / 200 for share in range(201)]
    found = [nearest_value(domain, value) for value in between]
    assert list(dict.fromkeys(found)) == grid and {type(value) for value in found} == {type(grid[0])}
    assert {any_value(Random(seed), domain) for seed in range(300)} == set(grid)


@given(low=st.integers(-50, 50), length=st.integers(0, 400), step=STEPS, at=st.floats(-100, 100))
def test_the_nearest_value_is_on_the_grid_within_the_ends_and_at_most_half_a_step_away(
    low: int, length: int, step: float, at: float
) -> None:
    start, end = float(Decimal(low) * Decimal(repr(step))), float(Decimal(low) * Decimal(repr(step)) + Decimal(length) / 7)
    domain = parse({"float": [start, end], "step": step})
    found = nearest_value(domain, at)
    index = (Decimal(repr(found)) - Decimal(repr(start))) / Decimal(repr(step))
    assert index == int(index) >= 0 and start <= found <= domain.high <= end < domain.high + step * (1 + 1e-9)
    assert nearest_value(domain, found) == found and has(domain, found)
    if domain.low <= at <= domain.high:
        assert abs(found - at) <= step / 2 * (1 + 1e-9)


@given(exponent=st.floats(-12, 12), width=st.floats(0, 6), share=st.floats(0, 1))
def test_values_of_a_logarithmic_range_are_within_it_and_unchanged(exponent: float, width: float, share: float) -> None:
    low, high = 10.0**exponent, 10.0 ** (exponent + width)
    assume(low <= high)
    domain = parse({"float": [low, high], "log": True})
    value = nearest_value(domain, math.exp(math.log(low) + share * math.log(high / low)))
    assert low <= value <= high and nearest_value(domain, value) == value and has(domain, value)
    assert all(low <= any_value(Random(seed), domain) <= high for seed in range(5))
    if high < low * 0.999:
        assert not has(domain, high * 1.001)


@pytest.mark.parametrize(
    ("node", "value", "near"),
    [
        ({"int": [1, 8]}, 4.0, 4), ({"int": [1, 8]}, 4.4, 4), ({"int": [1, 8]}, True, None), ({"int": [1, 8]}, "4", None),
        ({"float": [1, 8]}, 4, 4.0), ({"float": [1, 8]}, float("nan"), None), ({"float": [1, 8]}, None, None),
        ({"float": [0, 1], "step": 0.4}, 0.9, 0.8), ({"float": [0, 1], "step": 0.4}, 1.0, 0.8),
        ({"float": [0, 1], "step": 0.4}, 1.3, None), ({"int": [3, 3]}, 3, 3), ({"int": [3, 3]}, 4, None),
        ({"choice": [1, 2]}, True, None), ({"choice": [1, 2]}, 2.0, 2), ({"choice": [True, False]}, 1, None),
        ({"choice": ["a", "b"]}, "b", "b"), ({"choice": ["a", "b"]}, "c", None),
    ],
)  # fmt: skip
def test_a_foreign_value_is_rounded_to_the_grid_or_is_outside_the_domain(node: Any, value: Any, near: Any) -> None:
    found = value_near(parse(node), value)
    assert found == near and type(found) is type(near)
    assert has(parse(node), value) == (near is not None and near == value)


@pytest.mark.parametrize(
    ("domain", "value", "nearest"),
    [
        (Float(low=0.0, high=1.0, step=0.25), 0.4, 0.5), (Float(low=0.0, high=1.0), 1.7, 1.0),
        (Int(low=1, high=9, step=4), 6.9, 5), (Int(low=1, high=9, step=4), -3.0, 1), (Int(low=2, high=8, log=True), 3.6, 4),
    ],
)  # fmt: skip
def test_the_nearest_value_has_the_type_of_its_range(domain: Any, value: float, nearest: float) -> None:
    found = nearest_value(domain, value)
    assert found == nearest and type(found) is type(nearest)


def test_values_of_a_logarithmic_range_are_uniform_in_the_logarithm() -> None:
    generator = Random(0)
    drawn = [any_value(generator, Float(low=0.01, high=100.0, log=True)) for _ in range(400)]
    assert 0.4 < sum(value < 1.0 for value in drawn) / 400 < 0.6 and min(drawn) >= 0.01 and max(drawn) <= 100.0
    even = [any_value(generator, Float(low=0.0, high=100.0)) for _ in range(400)]
    assert 0.4 < sum(value < 50.0 for value in even) / 400 < 0.6
