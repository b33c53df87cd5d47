"""How sure a share is: confidence intervals for accuracies and for their differences on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students_t


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) of the share that `successes` of `n` estimate, by the score interval (Wilson, 1927)."""
    assert 0 <= successes <= n and n > 0, (successes, n)
    low, high = wilson_bounds(np.array(successes / n), n, confidence)
    return float(low), float(high)


def wilson_bounds(
    shares: NDArray[np.float64], n: int, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the low and the high ends of Wilson's interval for each share of `n` examples, an array of any shape."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (shares + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(shares * (1 - shares) / n + z * z / (4 * n * n))
    return np.maximum(0.0, middle - half), np.minimum(1.0, middle + half)


def paired_difference(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return (difference, low, high) of a's accuracy minus b's on the same examples, booleans `[n]` each.

    With m more discordant pairs in the count, half for each side, before Wald's interval (Agresti and Min, 2005), so
    that equal answers still have a width.
    """
    assert correct_a.shape == correct_b.shape and correct_a.ndim == 1 and len(correct_a) > 0
    only_a, only_b = float((correct_a & ~correct_b).sum()), float((correct_b & ~correct_a).sum())
    n = len(correct_a)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    more_a, more_b, total = only_a + 0.5, only_b + 0.5, n + 2.0
    middle = (more_a - more_b) / total
    half = z * sqrt(more_a + more_b - (more_a - more_b) ** 2 / total) / total
    return (only_a - only_b) / n, middle - half, middle + half


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) of the mean that at least two `values` estimate, by Student's t (1908)."""
    assert len(values) > 1, "one value has no spread"
    half = float(students_t.ppf(0.5 + confidence / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
