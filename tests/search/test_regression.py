from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.search.regression import Regression, best_no_larger, expected_improvement


def test_what_is_smooth_is_learnt_and_what_does_not_matter_is_left_out() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((60, 3))
    values = np.sin(3 * rows[:, 0]) + rows[:, 1]
    learnt = Regression()
    learnt.learn(rows, values)
    asked = rng.uniform(0.1, 0.9, (50, 3))
    mean, deviation = learnt.predict(asked)
    errors = mean - (np.sin(3 * asked[:, 0]) + asked[:, 1])
    assert np.abs(errors).max() < 0.1
    assert (np.abs(errors) < 3 * deviation).mean() > 0.95
    moved = asked.copy()
    moved[:, 2] += 0.3
    assert np.abs(learnt.predict(moved)[0] - mean).max() < 0.1


def test_the_same_rows_give_the_same_predictions_however_they_came() -> None:
    """A driver that was killed learns all at once what the one before it learnt row by row."""
    rng = np.random.default_rng(1)
    rows, values = rng.random((31, 2)), rng.random(31)
    grown, at_once = Regression(), Regression()
    for count in range(2, 32):
        grown.learn(rows[:count], values[:count])
    at_once.learn(rows, values)
    asked = rng.random((5, 2))
    np.testing.assert_array_equal(grown.predict(asked), at_once.predict(asked))


def test_expected_improvement_is_that_of_draws() -> None:
    rng = np.random.default_rng(2)
    best, mean, deviation = np.array([0.0, -1.0, 2.0]), np.array([0.5, -1.2, 0.0]), np.array([1.0, 0.3, 1e-14])
    draws = rng.standard_normal((200_000, 1)) * deviation + mean
    expected = np.maximum(0, best - draws).mean(axis=0)
    np.testing.assert_allclose(expected_improvement(best, mean, deviation), expected, atol=0.01)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.floats(-3, 0)), min_size=1, max_size=8), st.integers(0, 7))
def test_the_best_no_larger_is_found_by_looking(rows: list[tuple[float, float, float]], which: int) -> None:
    table = np.array(rows)
    asked = table[which % len(table), :2]
    found = best_no_larger(asked[None], table[:, :2], table[:, 2])[0]
    assert found == min(0.0, *(end for a, b, end in rows if a <= asked[0] and b <= asked[1]))


def test_without_anyone_no_larger_every_error_is_an_improvement() -> None:
    assert best_no_larger(np.array([[1.0]]), np.array([[2.0]]), np.array([-1.0])) == pytest.approx([0.0])
    assert best_no_larger(np.empty((2, 0)), np.empty((3, 0)), np.array([-1.0, -2.0, 0.0])) == pytest.approx([-2.0, -2.0])
