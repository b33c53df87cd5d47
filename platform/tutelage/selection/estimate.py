"""How good a student is on validation: an estimate from few seeds, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students_t

from tutelage.intervals import wilson_bounds
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker


def put_on_record(home: SweepDir, tracker: Tracker, fresh: Accuracies, num_judged: int) -> None:
    """Add to the measures of each student in `fresh` the mean over its fresh seeds, their number, and the 95 % interval.

    What has not changed is not written again. The accuracy that the search saw stays what it was.
    """
    records = {record.trial_id: record for record in home.records() if record.trial_id in fresh}
    searched = {trial: record.measures["accuracy"] for trial, record in records.items()}
    for trial, estimate in estimates(searched, fresh, num_judged).items():
        measures = measures_of(estimate)
        if not measures.items() <= records[trial].measures.items():
            home.ledger.append(replace(records[trial], measures={**records[trial].measures, **measures}))
            tracker.log_measures(trial, measures)


def measures_of(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as measures; the interval's ends are left out where there is none."""
    low_high = dict(zip(("confirmed_low", "confirmed_high"), estimate.interval or (), strict=False))
    return {"confirmed_accuracy": estimate.mean, "confirmed_seeds": float(estimate.seeds), **low_high}


CONFIDENCE = 0.95


Vector = NDArray[np.float64]


Accuracies = Mapping[str, Sequence[float]]  # of every trial that was trained again, one a fresh seed


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What fresh seeds say of a student's accuracy, a share.

    `interval` holds, with 95 % confidence, the accuracy on all examples of the kind of one student so trained; `lower` is its
    lower end where only that matters (one-sided). Both are None where no two seeds of any student tell how seeds vary.
    """

    searched: float
    mean: float
    sd: float | None
    seeds: int
    interval: tuple[float, float] | None
    lower: float | None


def estimates(searched: Mapping[str, float], fresh: Accuracies, num_judged: int) -> dict[str, Estimate]:
    """Return what `fresh` accuracies over `num_judged` validation examples say of each trial; see `Estimate` and `_Spread`."""
    spread = _Spread.of(fresh, num_judged)
    means = np.array([np.mean(accuracies) for accuracies in fresh.values()])
    seeds = np.array([len(accuracies) for accuracies in fresh.values()])
    low, high = spread.interval(means, seeds, CONFIDENCE)
    lower, is_known = spread.lower(means, seeds), spread.freedom > 0
    return {
        trial: Estimate(
            searched=searched[trial], mean=float(means[i]), sd=float(np.std(accuracies, ddof=1)) if seeds[i] > 1 else None,
            seeds=int(seeds[i]), interval=(float(low[i]), float(high[i])) if is_known else None,
            lower=float(lower[i]) if is_known else None,
        )
        for i, (trial, accuracies) in enumerate(fresh.items())
    }  # fmt: skip


@dataclass(frozen=True)
class _Spread:
    """How accuracies vary from seed to seed: s² = φ² p (1 - p), with one φ² pooled over students, as overdispersion is.

    (McCullagh and Nelder, 1989.) `freedom` is the number of deviations that φ² is known by; 0: it is that of the examples
    alone.
    """

    phi2: float
    freedom: int
    num_judged: int

    @classmethod
    def of(cls, fresh: Accuracies, num_judged: int) -> _Spread:
        """Return what repeated trainings show."""
        freedom = sum(len(accuracies) - 1 for accuracies in fresh.values())
        scaled = [
            float(np.var(runs)) * len(runs) / float(_variance(np.array(np.mean(runs)), num_judged)) for runs in fresh.values()
        ]
        return cls(sum(scaled) / freedom if freedom else 1 / num_judged, freedom, num_judged)

    def sd(self, means: Vector, seeds: Vector) -> Vector:
        """Return the deviation of one more seed from the mean of `seeds`."""
        return np.sqrt(self.phi2 * _variance(means, self.num_judged) * (1 + 1 / seeds))

    def lower(self, means: Vector, seeds: Vector) -> Vector:
        """Return what one more student has at least, with 95 % confidence."""
        return self.interval(means, seeds, 2 * CONFIDENCE - 1)[0]

    def interval(self, means: Vector, seeds: Vector, confidence: float) -> tuple[Vector, Vector]:
        """Return between what the accuracy of one more student lies, on all examples of the kind.

        Student's t interval for seeds and Wilson's (1927) for examples are put together as by Zou and Donner (2008): on
        each side the squares of their distances from the mean are added.
        """
        low, high = wilson_bounds(means, self.num_judged, confidence)
        from_seeds = _quantile(0.5 + confidence / 2, self.freedom) * self.sd(means, seeds)
        return np.maximum(0.0, means - np.hypot(means - low, from_seeds)), np.minimum(
            1.0, means + np.hypot(high - means, from_seeds)
        )


@cache
def _quantile(probability: float, freedom: int) -> float:
    return float(students_t.ppf(probability, freedom or np.inf))


def _variance(shares: Vector, num_judged: int) -> Vector:
    """Return p (1 - p), with two right and two wrong examples more, so that a share of 1 has one (Agresti and Coull, 1998)."""
    shrunk: Vector = (shares * num_judged + 2) / (num_judged + 4)
    return shrunk * (1 - shrunk)
