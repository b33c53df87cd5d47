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
class ValidationSample:
    """The validation examples on which the primary measure of students was measured, `count` of them.

    `errors` has the standard error over these examples by trial, if the measure is not a share and the error was estimated.
    """

    measure: Measure
    count: int
    errors: Mapping[str, float]

    @classmethod
    def of(cls, measure: Measure, count: int, measures: Mapping[str, Mapping[str, float]]) -> ValidationSample:
        """Return the sample for students whose measures are given by trial."""
        name = standard_error_of(measure)
        return cls(measure=measure, count=count, errors={trial: own[name] for trial, own in measures.items() if name in own})

    def errors_of(self, trials: Sequence[str]) -> Vector:
        """Return the standard errors `[trials]` over the examples, 0 for trials without one."""
        return np.array([self.errors.get(trial, 0.0) for trial in trials], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimate of a student's primary measure from fresh seeds.

    `interval` contains, with 95 % confidence, the value of one student trained in this way on all examples of this kind;
    `bound` is the one-sided bound on the worse side. Both are None if no student has two seeds.
    """

    searched: float
    mean: float
    sd: float | None
    seeds: int
    interval: tuple[float, float] | None
    bound: float | None


def estimates(searched: Mapping[str, float], fresh: FreshValues, sample: ValidationSample) -> dict[str, Estimate]:
    """Return an estimate of each trial in `fresh`; see `Estimate` and `SeedSpread`."""
    spread = SeedSpread.of(fresh, sample)
    means = np.array([np.mean(values) for values in fresh.values()])
    seeds = np.array([len(values) for values in fresh.values()])
    errors = sample.errors_of(list(fresh))
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
    `freedom` is the number of degrees of freedom of φ²; if it is 0, only the variance over examples is used.
    """

    phi2: float
    freedom: int
    sample: ValidationSample

    @classmethod
    def of(cls, fresh: FreshValues, sample: ValidationSample) -> SeedSpread:
        """Return the variance between the seeds of repeated trainings."""
        freedom = sum(len(values) - 1 for values in fresh.values())
        scaled = [
            float(np.var(values)) * len(values) / float(_variance(np.array(np.mean(values)), sample))
            for values in fresh.values()
        ]
        return cls(sum(scaled) / freedom if freedom else _variance_before(sample), freedom, sample)

    def sd(self, means: Vector, seeds: Vector) -> Vector:
        """Return the standard deviation of the difference between one more seed and the mean of `seeds`."""
        return np.sqrt(self.phi2 * _variance(means, self.sample) * (1 + 1 / seeds))

    def bound(self, means: Vector, seeds: Vector, errors: Vector) -> Vector:
        """Return the 95 % confidence bound, on the worse side, of one more student."""
        low, high = self.interval(means, seeds, errors, 2 * CONFIDENCE - 1)
        return low if self.sample.measure.direction == "maximise" else high

    def interval(self, means: Vector, seeds: Vector, errors: Vector, confidence: float) -> tuple[Vector, Vector]:
        """Return the ends of the interval for the value of one more student, on all examples of this kind.

        Student's t interval for seeds and one for examples are combined as by Zou and Donner (2008): on each side the squares
        of their distances from the mean are added. For examples it is Wilson's (1927) if the measure is a share, otherwise the
        normal interval of their standard `errors`.
        """
        low, high = self._examples(means, errors, confidence)
        from_seeds = _quantile(0.5 + confidence / 2, self.freedom) * self.sd(means, seeds)
        below, above = means - np.hypot(means - low, from_seeds), means + np.hypot(high - means, from_seeds)
        return clipped(below, self.sample.measure), clipped(above, self.sample.measure)

    def _examples(self, means: Vector, errors: Vector, confidence: float) -> tuple[Vector, Vector]:
        if self.sample.measure.spread == "share":
            return wilson_bounds(means, self.sample.count, confidence)
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


def _variance(means: Vector, sample: ValidationSample) -> Vector:
    """Return 1, or for a share p (1 - p) with two right and two wrong examples added (Agresti and Coull, 1998), so that the
    variance of a share of 1 is not 0."""
    if sample.measure.spread != "share":
        return np.ones_like(means)
    shrunk: Vector = (means * sample.count + 2) / (sample.count + 4)
    return shrunk * (1 - shrunk)


def _variance_before(sample: ValidationSample) -> float:
    """Return φ² before any repeated training: the variance over examples only."""
    if sample.measure.spread == "share":
        return 1 / sample.count
    return float(np.mean(np.square(list(sample.errors.values())))) if sample.errors else 0.0


def put_on_record(home: SweepDir, tracker: Tracker, fresh: FreshValues, num_judged: int) -> None:
    """Add to the measures of each student in `fresh` the mean over its fresh seeds, their number, and the 95 % interval.

    Only changes are written. The value measured in the search is unchanged.
    """
    records = {record.trial_id: record for record in home.records() if record.trial_id in fresh}
    primary = home.primary()
    sample = ValidationSample.of(primary, num_judged, {trial: record.measures for trial, record in records.items()})
    searched = {trial: record.measures[primary.name] for trial, record in records.items()}
    for trial, estimate in estimates(searched, fresh, sample).items():
        measures = measures_of(estimate)
        if not measures.items() <= records[trial].measures.items():
            home.add_measures({trial: measures})
            tracker.log_measures(trial, measures)


def measures_of(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as measures; the interval's ends are left out where there is none."""
    low_high = dict(zip(("confirmed_low", "confirmed_high"), estimate.interval or (), strict=False))
    return {"confirmed_mean": estimate.mean, "confirmed_seeds": float(estimate.seeds), **low_high}
