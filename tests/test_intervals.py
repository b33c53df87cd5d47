from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tutelage import plugins
from tutelage.intervals import mean_interval, paired_difference, standard_error, wilson_interval


def test_wilson_against_its_closed_form() -> None:
    """The bounds solve |p̂ - p| = z √(p(1-p)/n) (Wilson, 1927)."""
    z = 1.959963984540054
    for successes, n in ((0, 10), (3, 10), (351, 360), (10, 10)):
        for bound in wilson_interval(successes, n):
            assert abs(successes / n - bound) == pytest.approx(z * (bound * (1 - bound) / n) ** 0.5, abs=1e-8)


def test_wilson_stays_in_range_and_covers() -> None:
    assert wilson_interval(0, 5)[0] == 0.0
    assert wilson_interval(5, 5)[1] == 1.0
    generator = np.random.default_rng(0)
    covered = [low <= 0.97 <= high for low, high in (wilson_interval(int(k), 360) for k in generator.binomial(360, 0.97, 2000))]
    assert 0.93 <= np.mean(covered) <= 0.98


def test_the_paired_difference_is_antisymmetric_and_covers() -> None:
    generator = np.random.default_rng(1)
    base = generator.random((1000, 360))
    a, b = base < 0.96, np.where(generator.random(base.shape) < 0.9, base, generator.random(base.shape)) < 0.94
    truth = 0.96 - 0.94
    covered = []
    for row_a, row_b in zip(a, b, strict=True):
        difference, low, high = paired_difference(row_a, row_b)
        assert low <= high
        covered.append(low <= truth <= high)
        back = paired_difference(row_b, row_a)
        assert back == pytest.approx((-difference, -high, -low))
    assert 0.93 <= np.mean(covered) <= 0.985


def test_the_interval_of_equal_predictions_has_a_width() -> None:
    same = np.ones(50, dtype=bool)
    difference, low, high = paired_difference(same, same)
    assert difference == 0.0
    assert low < 0.0 < high


def test_the_interval_of_a_mean_is_students() -> None:
    """For three values the 97.5 % quantile of t with two degrees of freedom is 4.302653 (Student's table)."""
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2.0)
    assert (high - low) / 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_the_paired_difference_is_its_formula() -> None:
    """12 and 5 discordant pairs of 40, each raised by a half, of 42 in all (Agresti and Min, 2005, with a pseudocount of 2)."""
    a = np.array([True] * 12 + [False] * 5 + [True] * 20 + [False] * 3)
    b = np.array([False] * 12 + [True] * 5 + [True] * 20 + [False] * 3)
    z, middle = 1.959963984540054, (12.5 - 5.5) / 42
    half = z * (12.5 + 5.5 - 7.0**2 / 42) ** 0.5 / 42
    assert paired_difference(a, b) == pytest.approx((7 / 40, middle - half, middle + half))


def test_the_standard_error_is_that_of_a_mean() -> None:
    measure = replace(plugins.measure("accuracy"), spread="mean")
    values = np.array([[0.1], [0.4], [0.7], [0.2]])
    assert standard_error(measure, values) == pytest.approx(np.std(values, ddof=1) / 2)
