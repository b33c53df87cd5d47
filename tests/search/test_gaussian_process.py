from __future__ import annotations

import numpy as np

from tutelage.search.gaussian_process import Regression


def test_a_smooth_function_is_fitted_and_an_irrelevant_input_is_ignored() -> None:
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


def test_predictions_depend_on_the_rows_and_not_on_their_batches() -> None:
    """A resumed driver gets all rows at once that the driver before it got one by one."""
    rng = np.random.default_rng(1)
    rows, values = rng.random((31, 2)), rng.random(31)
    grown, at_once = Regression(), Regression()
    for count in range(2, 32):
        grown.learn(rows[:count], values[:count])
    at_once.learn(rows, values)
    asked = rng.random((5, 2))
    np.testing.assert_array_equal(grown.predict(asked), at_once.predict(asked))
