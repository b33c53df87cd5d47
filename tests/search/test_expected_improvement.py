"""Expected improvement: closed forms compared with random draws, integrals and the hypervolume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from tutelage import pareto
from tutelage.search.expected_improvement import Gain, best_no_larger, expected_improvement


@given(st.floats(-3, 0), st.floats(-3, 0), st.floats(0.01, 1))
def test_expected_improvement_equals_its_integral(best: float, mean: float, deviation: float) -> None:
    by_hand = quad(lambda end: (best - end) * norm.pdf(end, mean, deviation), mean - 12 * deviation, best, points=[mean])[0]
    found = expected_improvement(np.array([best]), np.array([mean]), np.array([deviation]))
    assert found[0] == pytest.approx(max(0.0, by_hand), abs=1e-6)


def test_expected_improvement_equals_the_mean_of_random_draws() -> None:
    rng = np.random.default_rng(2)
    best, mean, deviation = np.array([0.0, -1.0, 2.0]), np.array([0.5, -1.2, 0.0]), np.array([1.0, 0.3, 1e-14])
    suggestions = rng.standard_normal((200_000, 1)) * deviation + mean
    expected = np.maximum(0, best - suggestions).mean(axis=0)
    np.testing.assert_allclose(expected_improvement(best, mean, deviation), expected, atol=0.01)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.floats(-3, 0)), min_size=1, max_size=8), st.integers(0, 7))
def test_the_best_student_that_is_not_larger_is_that_of_a_full_scan(rows: list[tuple[float, float, float]], which: int) -> None:
    table = np.array(rows)
    asked = table[which % len(table), :2]
    found = best_no_larger(asked[None], table[:, :2], table[:, 2])[0]
    assert found == min(0.0, *(end for a, b, end in rows if a <= asked[0] and b <= asked[1]))


def test_every_error_is_an_improvement_where_all_students_are_larger() -> None:
    assert best_no_larger(np.array([[1.0]]), np.array([[2.0]]), np.array([-1.0])) == pytest.approx([0.0])
    assert best_no_larger(np.empty((2, 0)), np.empty((3, 0)), np.array([-1.0, -2.0, 0.0])) == pytest.approx([-2.0, -2.0])


@pytest.mark.parametrize("num_sizes", [1, 2])
def test_the_gain_is_the_mean_growth_of_the_hypervolume(num_sizes: int) -> None:
    rng = np.random.default_rng(num_sizes)
    known, ends = rng.random((12, num_sizes)), rng.uniform(-2, -0.5, 12)
    lowest, reference = np.zeros(num_sizes), np.array([*np.full(num_sizes, 1.2), -0.3])
    asked, mean, deviation = rng.random((6, num_sizes)), rng.uniform(-2.2, -0.5, 6), np.full(6, 0.3)
    box = np.prod(reference[:-1] - lowest)
    found = Gain(known, ends, lowest=lowest, reference=reference).of(asked, mean, deviation) * box
    front = np.column_stack([known, ends])
    before = pareto.hypervolume(front, reference)
    suggestions = norm.ppf((np.arange(400) + 0.5) / 400)
    for one, at, spread, gain in zip(asked, mean, deviation, found, strict=True):
        volumes = [pareto.hypervolume([*front, [*one, at + spread * suggestion]], reference) for suggestion in suggestions]
        assert gain == pytest.approx(np.mean(volumes) - before, abs=0.01 * box)


def test_a_student_beyond_the_reference_gains_nothing_and_without_sizes_the_gain_is_the_improvement() -> None:
    front = Gain(np.array([[0.5]]), np.array([-1.0]), lowest=np.array([0.0]), reference=np.array([1.0, 0.0]))
    assert front.of(np.array([[1.1]]), np.array([-3.0]), np.array([0.1])) == pytest.approx([0.0])
    alone = Gain(np.empty((2, 0)), np.array([-1.0, -0.5]), lowest=np.empty(0), reference=np.array([0.0]))
    mean, deviation = np.array([-1.2, -0.8]), np.array([0.1, 0.4])
    np.testing.assert_allclose(
        alone.of(np.empty((2, 0)), mean, deviation), expected_improvement(np.full(2, -1.0), mean, deviation)
    )
