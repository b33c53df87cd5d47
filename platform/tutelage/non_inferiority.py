"""Tests that one network is not worse than another by more than a margin, and the margins that n examples can carry.

Both networks predict the same examples, so the test is paired. For a measure that is right or wrong on each example the test
is exact: the unconditional test of two paired shares, ordered by the score statistic of Tango (1998), with the largest p-value
over all rates of disagreement in an exact confidence interval (Berger and Boos, 1994). Every other measure has a paired
bootstrap over examples (Efron, 1979).

Networks that were ordered on other examples are tested in that order up to the first that fails (fixed-sequence testing;
Angelopoulos et al., Learn then test, 2021): then all that pass hold together at the confidence of one test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from tutelage.intervals import Contributions, are_right_or_wrong, resampled
from tutelage.measure import Measure

RESAMPLES = 4000  # of a bootstrap

_OUTSIDE = 1e-4  # probability that the rate of disagreement is outside the interval in which p is maximised; added to p
_RATES = 96  # rates of disagreement that are tried within that interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What n examples say about the claim that a candidate's value is worse by less than a margin.

    `drop` is the observed loss of value, in the measure's unit, positive where the candidate is worse. `lost` and `won` count
    the examples on which only the reference is right, and only the candidate; None for a measure that is no share. The claim
    is wrong with at most the probability `p_value`.
    """

    n: int
    drop: float
    p_value: float
    lost: int | None = None
    won: int | None = None


def compare(
    measure: Measure, reference: Contributions, candidate: Contributions, margin: float, seed: int = 0
) -> Comparison:  # fmt: skip
    """Return the test that `candidate` is worse than `reference` by less than `margin`, in the measure's unit.

    Both are `[n, k]`, what each of the same n examples contributed. The measure must have a spread.
    """
    assert reference.shape == candidate.shape and len(reference) > 0, (reference.shape, candidate.shape)
    assert measure.spread is not None and margin >= 0.0, (measure.name, margin)
    n, sign = len(reference), 1.0 if measure.direction == "maximise" else -1.0
    drop = sign * (measure.aggregate(reference) - measure.aggregate(candidate))
    if are_right_or_wrong(measure, reference) and are_right_or_wrong(measure, candidate):
        better, worse = (reference, candidate) if sign > 0 else (candidate, reference)
        lost, won = int(((better > 0) & (worse <= 0)).sum()), int(((better <= 0) & (worse > 0)).sum())
        return Comparison(n=n, drop=drop, p_value=exact_p_value(lost, won, n, margin), lost=lost, won=won)
    of_reference, of_candidate = resampled(measure, [reference, candidate], RESAMPLES, seed)
    drops = sign * (of_reference - of_candidate)
    above = int((~(drops < margin)).sum())  # a resample without a value counts against the claim
    return Comparison(n=n, drop=drop, p_value=(1 + above) / (1 + RESAMPLES))


def num_certified(p_values: Iterable[float], confidence: float = 0.95) -> int:
    """Return how many of the first tests pass before one fails; all of them hold together at the confidence."""
    return sum(1 for _ in takewhile(lambda p_value: p_value <= 1.0 - confidence, p_values))


def exact_p_value(lost: int, won: int, n: int, margin: float) -> float:
    """Return the p-value of the claim that a share falls by less than `margin`, from `lost` and `won` of n examples."""
    assert min(lost, won) >= 0 and lost + won <= n, (lost, won, n)
    if margin >= 1.0:
        return 0.0
    counts = np.arange(n + 1)  # of examples on which the two differ
    limits = _largest_lost(counts, n, margin, _statistic(np.array([lost]), np.array([won]), n, margin)[0])
    worst = max(_probability(limits, n, margin, rate) for rate in _rates(lost + won, n, margin))
    return min(1.0, worst + _OUTSIDE)


def least_margin(n: int, disagreement: float, confidence: float = 0.95) -> float:
    """Return the smallest margin that n examples can certify if two networks of equal accuracy differ on a share of them.

    `disagreement` is that share. A candidate that is truly as good passes about every second test at this margin; for four of
    five, half as much again is needed.
    """
    half = round(n * disagreement / 2)
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        passes = exact_p_value(half, half, n, middle) <= 1.0 - confidence
        low, high = (low, middle) if passes else (middle, high)
    return high


def _statistic(lost: NDArray[np.int_], won: NDArray[np.int_], n: int, margin: float) -> NDArray[np.float64]:
    """Return Tango's score statistic: how many standard errors the observed drop is above the margin."""
    b = -lost - won + (2 * n - lost + won) * margin
    root = np.sqrt(b * b + 8.0 * n * won * margin * (1.0 - margin))
    won_rate = np.maximum(root - b, 0.0) / (4.0 * n)  # the most likely rate of `won` if the drop is the margin
    variance = n * (2.0 * won_rate + margin * (1.0 - margin))
    gap = lost - won - n * margin
    return np.where(variance > 0.0, gap / np.sqrt(np.where(variance > 0.0, variance, 1.0)), 0.0)


def _largest_lost(counts: NDArray[np.int_], n: int, margin: float, observed: float) -> NDArray[np.int_]:
    """Return for each number of disagreements the largest `lost` with a statistic of at most `observed`; -1 for none.

    The statistic grows with `lost` at a fixed number of disagreements, so bisection finds it.
    """
    low, high = np.full_like(counts, -1), counts.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = _statistic(middle, counts - middle, n, margin) <= observed + 1e-9
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low


def _rates(differing: int, n: int, margin: float) -> NDArray[np.float64]:
    """Return rates of disagreement over an exact interval (Clopper and Pearson, 1934) of those that the margin allows."""
    low = beta.ppf(_OUTSIDE / 2, differing, n - differing + 1) if differing else 0.0
    high = beta.ppf(1.0 - _OUTSIDE / 2, differing + 1, n - differing) if differing < n else 1.0
    least = max(margin, 1e-12)
    return np.linspace(max(low, least), max(high, least), _RATES)


def _probability(limits: NDArray[np.int_], n: int, margin: float, rate: float) -> float:
    """Return the probability, at the margin and a rate of disagreement, of an outcome at least as good as the observed."""
    middle, width = n * rate, 8.0 * np.sqrt(n * rate * (1.0 - rate)) + 16.0
    counts = np.arange(max(0, int(middle - width)), min(n, int(middle + width)) + 1)
    lost_share = min(1.0, (rate + margin) / (2.0 * rate))
    return float((binom.pmf(counts, n, rate) * binom.cdf(limits[counts], counts, lost_share)).sum())
