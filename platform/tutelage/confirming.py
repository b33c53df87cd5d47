"""What fresh seeds leave of what a search found: which students need them, and how sure they make one.

The best of many students on one validation split is flattered by luck (the winner's curse). So those that a policy might
take, had the noise fallen otherwise, are trained again with seeds that no search has seen, and the choice rests on these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as students_t

from tutelage import pareto
from tutelage.intervals import wilson_bounds
from tutelage.objectives import losses
from tutelage.record import TrialRecord
from tutelage.selection import Question

WORLDS = 200  # in which the noise falls otherwise
WORTH = 0.05  # share of them in which a student must be taken to be trained again
ROUND = 3  # students that are trained again before it is looked again
CONFIDENCE = 0.95

Vector = NDArray[np.float64]
Accuracies = Mapping[str, Sequence[float]]  # of every trial that was trained again, one a fresh seed
Train = Callable[[Sequence[str]], Accuracies]  # trains these trials with all fresh seeds that they lack


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


@dataclass(frozen=True, kw_only=True)
class Race:
    """The students of a sweep, some of them trained again with `seeds` fresh seeds: whom a question's policy may still take."""

    question: Question
    records: Sequence[TrialRecord]
    num_judged: int
    seeds: int
    seed: int = 0

    def run(self, known: Accuracies, train: Train, *, most: int) -> Accuracies:
        """Have students trained again, in rounds, until no other is worth it or `most` have been; return all that is known.

        Worth it is the one that is believed to be taken, and any other that is taken where the noise falls otherwise. If none
        of `most` can be taken, as many again are tried.
        """
        fresh, trained = dict(known), 0
        while rivals := self._rivals(fresh):
            most_now = most if trained < most or self._is_answered(fresh) else 2 * most
            rivals = rivals[: min(ROUND, most_now - trained)]
            if not rivals:
                break
            fresh |= train(rivals)
            trained += len(rivals)
        return fresh

    def run_for_front(self, known: Accuracies, train: Train) -> Accuracies:
        """Have the front's students trained again, and then those that come up where these shrink; return all that is known.

        At most twice as many as the front had at first are trained.
        """
        fresh, left = dict(known), 2 * len(self._front(self._believed({})))
        while left > 0:
            coming = [r.trial_id for r in self._front(self._believed(fresh)) if r.trial_id not in fresh][:left]
            if not coming:
                break
            fresh |= train(coming)
            left -= len(coming)
        return fresh

    def _is_answered(self, fresh: Accuracies) -> bool:
        return any(one.trial_id in fresh for one in self.question.ranked(self.cautious(fresh)))

    def _rivals(self, fresh: Accuracies) -> list[str]:
        """Return the trials that are worth being trained again, the likeliest first."""
        shares = self.chances(fresh)
        for one in self.question.ranked(self.cautious(fresh))[:1]:
            shares[one.trial_id] = max(WORTH, shares.get(one.trial_id, 0.0))
        worth = [trial for trial, share in shares.items() if share >= WORTH and trial not in fresh]
        return sorted(worth, key=lambda trial: (-shares[trial], trial))

    def chances(self, fresh: Accuracies) -> dict[str, float]:
        """Return by trial the share of worlds in which it is taken once all have been trained again; those that never are lack.

        In each world the noise falls otherwise on every student that was not yet.
        """
        spread, believed = _Spread.of(fresh, self.num_judged), self._believed(fresh)
        seeds = self._seeds(fresh)
        waits = np.array([record.trial_id not in fresh for record in self.records])
        deviations = np.where(waits, spread.sd(believed, seeds), 0.0)
        shares: dict[str, float] = {}
        for noise in np.random.default_rng(self.seed).standard_normal((WORLDS, len(self.records))):
            means = np.clip(believed + deviations * noise, 0.0, 1.0)
            for one in self.question.ranked(self._front(self._sure(means, seeds, spread)))[:1]:
                shares[one.trial_id] = shares.get(one.trial_id, 0.0) + 1 / WORLDS
        return shares

    def _front(self, accuracies: Vector) -> list[TrialRecord]:
        """Return the records, with these accuracies, that fit and that no other such dominates."""
        rows, matrix, column, sign = self._fitting
        low, high = (
            bounds.get("accuracy", limit) for bounds, limit in ((self.question.limits.min, 0), (self.question.limits.max, 1))
        )
        matrix, met = matrix.copy(), (accuracies[rows] >= low) & (accuracies[rows] <= high)
        if column is not None:
            matrix[:, column] = sign * accuracies[rows]
        rows, matrix = rows[met], matrix[met]
        return self._with(accuracies, rows[pareto.non_dominated_mask(matrix)])

    @cached_property
    def _fitting(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int | None, float]:
        """The rows that fit whatever their accuracy, their losses, and where and with what sign accuracy stands in these."""
        question = self.question
        unbound = replace(question, limits=question.limits.without("accuracy"))
        rows = [row for row, fits in enumerate(unbound.fits(self.records)) if fits]
        matrix = losses([self.records[row].measures for row in rows], question.axes)
        column = next((i for i, axis in enumerate(question.axes) if axis.name == "accuracy"), None)
        sign = 1.0 if column is not None and question.axes[column].direction == "minimise" else -1.0
        return np.array(rows, dtype=np.int64), matrix, column, sign

    def _believed(self, fresh: Accuracies) -> Vector:
        """Return what each student's mean accuracy over seeds is believed to be (num_records,).

        Of one that was not trained again: what it had in the search, less what fresh seeds took from the others on average.
        """
        found = self.estimates(fresh).values()
        change = min(0.0, float(np.mean([one.mean - one.searched for one in found]))) if found else 0.0
        rows = [np.mean(fresh[r.trial_id]) if r.trial_id in fresh else r.measures["accuracy"] + change for r in self.records]
        return np.array(rows, dtype=np.float64)

    def estimates(self, fresh: Accuracies) -> dict[str, Estimate]:
        """Return what `fresh` says of each of its trials."""
        searched = {record.trial_id: record.measures["accuracy"] for record in self.records}
        return estimates(searched, {trial: runs for trial, runs in fresh.items() if trial in searched}, self.num_judged)

    def cautious(self, fresh: Accuracies) -> list[TrialRecord]:
        """Return the records with the accuracies that a choice rests on: what is sure of each.

        Of one that was not trained again it is what would be, if it proved to be as believed: nobody is preferred for
        not having been looked at.
        """
        sure = self._sure(self._believed(fresh), self._seeds(fresh), _Spread.of(fresh, self.num_judged))
        return self._with(sure, range(len(self.records)))

    def _seeds(self, fresh: Accuracies) -> Vector:
        return np.array([len(fresh.get(record.trial_id, ())) or self.seeds for record in self.records], dtype=np.float64)

    def _sure(self, means: Vector, seeds: Vector, spread: _Spread) -> Vector:
        return spread.lower(means, seeds) if self.seeds > 1 else means

    def _with(self, accuracies: Vector, rows: Iterable[int]) -> list[TrialRecord]:
        chosen = [(self.records[row], float(accuracies[row])) for row in rows]
        return [replace(record, measures={**record.measures, "accuracy": accuracy}) for record, accuracy in chosen]
