"""Regression by a Gaussian process with a length scale for each feature, for a few hundred rows. Pure."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


MOST_LEARNT = 250  # the latest rows: the cost grows with their cube


REFIT_GROWTH = 1.35  # factor by which rows must grow until length scales are fitted again


FEWEST = 5  # rows that length scales are fitted to first


class Regression:
    """Predicts values [n] from rows [n, d] that only grow in number; the same rows give the same predictions.

    Length scales are fitted to the first rows, their number being `FEWEST` times a power of `REFIT_GROWTH`. The process is
    conditioned on the latest rows.
    """

    def __init__(self) -> None:
        self._kernel: Any = None
        self._fitted_to = b""

    def learn(self, rows: Array, values: Array) -> None:
        """Fit to `rows` [n ≥ 2, d] and `values` [n], which replace those before."""
        due = _due(len(rows))
        first = np.column_stack([rows[:due], values[:due]]).tobytes()
        if self._fitted_to != first:
            self._kernel = self._fit(rows[:due], values[:due], _kernel(rows.shape[1]), "fmin_l_bfgs_b").kernel_
            self._fitted_to = first
        self._process = self._fit(rows, values, self._kernel, None)

    def _fit(self, rows: Array, values: Array, kernel: Any, optimizer: str | None) -> Any:
        from sklearn.exceptions import ConvergenceWarning  # takes a second, and only some samplers need it
        from sklearn.gaussian_process import GaussianProcessRegressor

        rows, values = rows[-MOST_LEARNT:], values[-MOST_LEARNT:]
        self._centre, spread = rows.mean(axis=0), rows.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)
        process = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=optimizer)
        with warnings.catch_warnings():
            # A length scale at its bound means that a feature has no effect.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return process.fit((rows - self._centre) / self._spread, values)

    def predict(self, queried: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation [m] of the values of `queried` [m, d]."""
        mean, deviation = self._process.predict((queried - self._centre) / self._spread, return_std=True)
        return mean, deviation


def _due(count: int) -> int:
    """Return the number of rows, of `count`, that length scales are fitted to."""
    due = min(count, FEWEST)
    while (following := max(due + 1, round(due * REFIT_GROWTH))) <= count:
        due = following
    return due


def _kernel(num_features: int) -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scales = np.full(num_features, 2.0)
    return ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (0.2, 1e2), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
