"""Confidence intervals of measures: of a value over examples, of a paired difference on the same examples, of a mean of seeds.

A share of independent examples has Wilson's interval, and a paired difference of two shares Agresti and Min's. Every other
measure has a bootstrap over examples (Efron, 1979): an example is drawn with all that it contributes, so steps within one
example never count as independent. The bootstrap is seeded: the same contributions give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tutelage.measure import Measure

RESAMPLES = 1000  # of a bootstrap for an interval


RESAMPLES_OF_ERROR = 200  # of a bootstrap for a standard error


Contributions = NDArray[np.float64]  # [n, k]: what each of n examples contributed to a measure


def interval(
    measure: Measure, contributions: Contributions, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float] | None:  # fmt: skip
    """Return (low, high) of the value that these examples estimate, or None for a measure without a spread.

    `contributions` is `[n, k]`; of a share it holds a 0 or a 1 an example.
    """
    if measure.spread is None:
        return None
    if are_right_or_wrong(measure, contributions):
        return wilson_interval(int(contributions.sum()), len(contributions), confidence)
    values = resampled(measure, [contributions], RESAMPLES, seed)[0]
    return _quantiles(values, measure.aggregate(contributions), confidence)


def paired_interval(
    measure: Measure, a: Contributions, b: Contributions, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float, float]:  # fmt: skip
    """Return (difference, low, high) of a's value minus b's on the same examples, `[n, k]` each.

    Both are resampled together, so that what makes an example hard for both cancels.
    """
    assert a.shape == b.shape and len(a) > 0, (a.shape, b.shape)
    if are_right_or_wrong(measure, a) and are_right_or_wrong(measure, b):
        return paired_difference(a[:, 0] > 0, b[:, 0] > 0, confidence)
    difference = measure.aggregate(a) - measure.aggregate(b)
    of_a, of_b = resampled(measure, [a, b], RESAMPLES, seed)
    low, high = _quantiles(of_a - of_b, difference, confidence)
    return difference, low, high


def paired_gain(
    measure: Measure, a: Contributions, b: Contributions, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float, float]:  # fmt: skip
    """Return what `paired_interval` does, turned so that it is positive where a is better."""
    difference, low, high = paired_interval(measure, a, b, seed, confidence)
    return (difference, low, high) if measure.direction == "maximise" else (-difference, -high, -low)


def standard_error(measure: Measure, contributions: Contributions, seed: int = 0) -> float:
    """Return the standard error of the value over these examples, 0 for a single example."""
    if measure.spread in ("share", "mean") and len(contributions) > 1:
        return float(np.std(contributions[:, 0], ddof=1)) / sqrt(len(contributions))
    values = resampled(measure, [contributions], RESAMPLES_OF_ERROR, seed)[0]
    finite = values[np.isfinite(values)]
    return float(np.std(finite)) if len(finite) else 0.0


def are_right_or_wrong(measure: Measure, contributions: Contributions) -> bool:
    """Return whether the measure is a share, and each example contributed a 0 or a 1 to it."""
    return measure.spread == "share" and contributions.shape[1] == 1 and bool(np.isin(contributions, (0, 1)).all())


def resampled(measure: Measure, sets: Sequence[Contributions], count: int, seed: int) -> list[NDArray[np.float64]]:
    """Return for each of `sets` the values of `count` resamples of its examples, drawn alike for all."""
    generator, n = np.random.default_rng(seed), len(sets[0])
    values = np.empty((len(sets), count))
    with np.errstate(all="ignore"):
        for draw in range(count):
            rows = generator.integers(n, size=n)
            values[:, draw] = [measure.aggregate(contributions[rows]) for contributions in sets]
    return list(values)


def _quantiles(values: NDArray[np.float64], estimate: float, confidence: float) -> tuple[float, float]:
    """Return the percentiles of the resampled values; a resample without a value, such as of empty examples, is left out."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return estimate, estimate
    low, high = np.quantile(finite, (0.5 - confidence / 2, 0.5 + confidence / 2))
    return float(low), float(high)


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
    """Return (difference, low, high) of a's share minus b's on the same examples, booleans `[n]` each.

    With m more discordant pairs in the count, half for each side, before Wald's interval (Agresti and Min, 2005), so
    that equal predictions still have an interval of some width.
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
    half = float(stdtrit(len(values) - 1, 0.5 + confidence / 2)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
