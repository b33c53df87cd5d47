"""Estimates of a student's primary measure on validation from few seeds, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tutelage.intervals import wilson_bounds
from tutelage.measure import Measure, standard_error_of
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker

CONFIDENCE = 0.95


Vector = NDArray[np.float64]


FreshValues = Mapping[str, Sequence[float]]  # by trial, one value of the primary measure for each fresh seed


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What students are judged by: the primary measure, over `count` validation examples.

    `errors` has the standard error over these examples by trial, where the measure is not a share and it was estimated.
    """

    measure: Measure
    count: int
    errors: Mapping[str, float]

    @classmethod
    def of(cls, measure: Measure, count: int, measures: Mapping[str, Mapping[str, float]]) -> Judged:
        """Return this for students of which `measures` has by trial what was measured of them."""
        name = standard_error_of(measure)
        return cls(measure=measure, count=count, errors={trial: own[name] for trial, own in measures.items() if name in own})

    def errors_of(self, trials: Sequence[str]) -> Vector:
        """Return the standard errors `[trials]` over the examples, 0 where there is none."""
        return np.array([self.errors.get(trial, 0.0) for trial in trials], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimate of a student's primary measure from fresh seeds.

    `interval` holds, with 95 % confidence, the value on all examples of the kind of one student so trained; `bound` is its end
    on the worse side where only that matters (one-sided). Both are None where no student has two seeds.
    """

    searched: float
    mean: float
    sd: float | None
    seeds: int
    interval: tuple[float, float] | None
    bound: float | None


def estimates(searched: Mapping[str, float], fresh: FreshValues, judged: Judged) -> dict[str, Estimate]:
    """Return an estimate of each trial in `fresh`; see `Estimate` and `SeedSpread`."""
    spread = SeedSpread.of(fresh, judged)
    means = np.array([np.mean(values) for values in fresh.values()])
    seeds = np.array([len(values) for values in fresh.values()])
    errors = judged.errors_of(list(fresh))
    low, high = spread.interval(means, seeds, errors, CONFIDENCE)
    bound, is_known = spread.bound(means, seeds, errors), spread.freedom > 0
    return {
        trial: Estimate(
            searched=searched[trial], mean=float(means[i]), sd=float(np.std(values, ddof=1)) if seeds[i] > 1 else None,
            seeds=int(seeds[i]), interval=(float(low[i]), float(high[i])) if is_known else None,
            bound=float(bound[i]) if is_known else None,
        )
        for i, (trial, values) in enumerate(fresh.items())
    }  # fmt: skip


@dataclass(frozen=True)
class SeedSpread:
    """The variance of the measure between seeds: s² = φ² v, with one φ² pooled over students.

    For a share p, v is p (1 - p), as overdispersion is modelled (McCullagh and Nelder, 1989); for any other measure v is 1.
    `freedom` is the number of deviations that φ² is estimated from; where it is 0, a share varies as its examples alone do.
    """

    phi2: float
    freedom: int
    judged: Judged

    @classmethod
    def of(cls, fresh: FreshValues, judged: Judged) -> SeedSpread:
        """Return the variance that repeated trainings show."""
        freedom = sum(len(values) - 1 for values in fresh.values())
        scaled = [
            float(np.var(values)) * len(values) / float(_variance(np.array(np.mean(values)), judged))
            for values in fresh.values()
        ]
        return cls(sum(scaled) / freedom if freedom else _variance_before(judged), freedom, judged)

    def sd(self, means: Vector, seeds: Vector) -> Vector:
        """Return the deviation of one more seed from the mean of `seeds`."""
        return np.sqrt(self.phi2 * _variance(means, self.judged) * (1 + 1 / seeds))

    def bound(self, means: Vector, seeds: Vector, errors: Vector) -> Vector:
        """Return the 95 % confidence bound, on the worse side, of one more student."""
        low, high = self.interval(means, seeds, errors, 2 * CONFIDENCE - 1)
        return low if self.judged.measure.direction == "maximise" else high

    def interval(self, means: Vector, seeds: Vector, errors: Vector, confidence: float) -> tuple[Vector, Vector]:
        """Return the ends between which the value of one more student lies, on all examples of the kind.

        Student's t interval for seeds and one for examples are combined as by Zou and Donner (2008): on each side the squares
        of their distances from the mean are added. For examples it is Wilson's (1927) where the measure is a share, and
        otherwise the normal one of their standard `errors`, where these are known.
        """
        low, high = self._examples(means, errors, confidence)
        from_seeds = _quantile(0.5 + confidence / 2, self.freedom) * self.sd(means, seeds)
        below, above = means - np.hypot(means - low, from_seeds), means + np.hypot(high - means, from_seeds)
        return clipped(below, self.judged.measure), clipped(above, self.judged.measure)

    def _examples(self, means: Vector, errors: Vector, confidence: float) -> tuple[Vector, Vector]:
        if self.judged.measure.spread == "share":
            return wilson_bounds(means, self.judged.count, confidence)
        half = _quantile(0.5 + confidence / 2, 0) * errors
        return means - half, means + half


def clipped(values: Vector, measure: Measure) -> Vector:
    """Return values of a measure within its bounds."""
    low = -np.inf if measure.low is None else measure.low
    high = np.inf if measure.high is None else measure.high
    found: Vector = np.clip(values, low, high)
    return found


@cache
def _quantile(probability: float, freedom: int) -> float:
    return float(stdtrit(freedom or np.inf, probability))


def _variance(means: Vector, judged: Judged) -> Vector:
    """Return 1, or of a share p (1 - p) with two right and two wrong examples more (Agresti and Coull, 1998): a share of 1
    has a variance too."""
    if judged.measure.spread != "share":
        return np.ones_like(means)
    shrunk: Vector = (means * judged.count + 2) / (judged.count + 4)
    return shrunk * (1 - shrunk)


def _variance_before(judged: Judged) -> float:
    """Return φ² before any repeated training: that of the examples alone."""
    if judged.measure.spread == "share":
        return 1 / judged.count
    return float(np.mean(np.square(list(judged.errors.values())))) if judged.errors else 0.0


def put_on_record(home: SweepDir, tracker: Tracker, fresh: FreshValues, num_judged: int) -> None:
    """Add to the measures of each student in `fresh` the mean over its fresh seeds, their number, and the 95 % interval.

    Only changes are written. The value measured in the search is unchanged.
    """
    records = {record.trial_id: record for record in home.records() if record.trial_id in fresh}
    primary = home.primary()
    judged = Judged.of(primary, num_judged, {trial: record.measures for trial, record in records.items()})
    searched = {trial: record.measures[primary.name] for trial, record in records.items()}
    for trial, estimate in estimates(searched, fresh, judged).items():
        measures = measures_of(estimate)
        if not measures.items() <= records[trial].measures.items():
            home.add_measures({trial: measures})
            tracker.log_measures(trial, measures)


def measures_of(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as measures; the interval's ends are left out where there is none."""
    low_high = dict(zip(("confirmed_low", "confirmed_high"), estimate.interval or (), strict=False))
    return {"confirmed_mean": estimate.mean, "confirmed_seeds": float(estimate.seeds), **low_high}
