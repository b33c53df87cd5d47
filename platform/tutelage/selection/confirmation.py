"""The students that are trained again with fresh seeds, and the estimates that the choice then uses.

The best of many students on one validation split is overestimated (selection bias, the winner's curse). So every student that
a policy might pick under other noise is trained again with seeds that the search has not used, and the choice uses these
results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tutelage import pareto
from tutelage.measure import Measure
from tutelage.objectives import losses
from tutelage.records.trial import TrialRecord
from tutelage.selection.estimate import Estimate, FreshValues, SeedSpread, ValidationSample, Vector, clipped, estimates
from tutelage.selection.query import SelectionQuery

DRAWS = 200  # random draws of the noise


LEAST_CHANCE = 0.05  # share of the draws in which a student must be picked to be trained again


ROUND = 3  # students that are trained again before the chances are computed again


Train = Callable[[Sequence[str]], FreshValues]  # trains these trials with all fresh seeds that they lack


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Decides which students of a sweep are trained again with `seeds` fresh seeds: those that a query's policy may still pick.

    `num_judged` is the number of validation examples, `seed` the seed of the noise.
    """

    query: SelectionQuery
    records: Sequence[TrialRecord]
    num_judged: int
    seeds: int
    seed: int = 0

    def run(self, known: FreshValues, train: Train, *, most: int) -> FreshValues:
        """Train students again in rounds, at most `most`, until no other is likely to be picked; return all fresh values.

        A round trains the likely pick, and every student that is picked in at least 5 % of the noise draws. If the policy can
        pick none of `most` students, up to twice as many are trained.
        """
        fresh, trained = dict(known), 0
        while rivals := self._rivals(fresh):
            most_now = most if trained < most or self._has_pick(fresh) else 2 * most
            rivals = rivals[: min(ROUND, most_now - trained)]
            if not rivals:
                break
            fresh |= train(rivals)
            trained += len(rivals)
        return fresh

    def run_for_front(self, known: FreshValues, train: Train) -> FreshValues:
        """Train the front's students again, and then those that enter it when others regress; return all fresh values.

        At most twice as many as the front had at first are trained.
        """
        fresh, left = dict(known), 2 * len(self._front(self._expected({})))
        while left > 0:
            entering = [r.trial_id for r in self._front(self._expected(fresh)) if r.trial_id not in fresh][:left]
            if not entering:
                break
            fresh |= train(entering)
            left -= len(entering)
        return fresh

    def _has_pick(self, fresh: FreshValues) -> bool:
        return any(one.trial_id in fresh for one in self.cautious(fresh).ranked(self.records))

    def _rivals(self, fresh: FreshValues) -> list[str]:
        """Return the trials to train again, the likeliest first."""
        shares = self.chances(fresh)
        for one in self.cautious(fresh).ranked(self.records)[:1]:
            shares[one.trial_id] = max(LEAST_CHANCE, shares.get(one.trial_id, 0.0))
        likely = [trial for trial, share in shares.items() if share >= LEAST_CHANCE and trial not in fresh]
        return sorted(likely, key=lambda trial: (-shares[trial], trial))

    def chances(self, fresh: FreshValues) -> dict[str, float]:
        """Return the share of noise draws in which each trial is picked, without trials of share 0.

        Each draw adds noise to every student that has not been trained again yet.
        """
        spread, expected = SeedSpread.of(fresh, self._sample), self._expected(fresh)
        seeds = self._seeds(fresh)
        is_unconfirmed = np.array([record.trial_id not in fresh for record in self.records])
        deviations = np.where(is_unconfirmed, spread.sd(expected, seeds), 0.0)
        shares: dict[str, float] = {}
        for noise in np.random.default_rng(self.seed).standard_normal((DRAWS, len(self.records))):
            means = clipped(expected + deviations * noise, self._primary)
            bounds = self._bounds(means, seeds, spread)
            for one in self._estimated(bounds).ranked(self._front(bounds))[:1]:
                shares[one.trial_id] = shares.get(one.trial_id, 0.0) + 1 / DRAWS
        return shares

    def _front(self, values: Vector) -> list[TrialRecord]:
        """Return the non-dominated records that meet the limits, if `values` are those of the primary measure."""
        rows, matrix, column, sign = self._fitting
        name, limits = self._primary.name, self.query.limits
        low, high = limits.min.get(name, -np.inf), limits.max.get(name, np.inf)
        matrix, met = matrix.copy(), (values[rows] >= low) & (values[rows] <= high)
        if column is not None:
            matrix[:, column] = sign * values[rows]
        rows, matrix = rows[met], matrix[met]
        return [self.records[row] for row in rows[pareto.non_dominated_mask(matrix)]]

    @cached_property
    def _fitting(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int | None, float]:
        """The rows that meet all limits except that of the primary measure, their losses, and the measure's column and sign."""
        query, name = self.query, self._primary.name
        unbound = replace(query, limits=query.limits.without(name))
        rows = [row for row, fits in enumerate(unbound.fits(self.records)) if fits]
        matrix = losses([self.records[row].measures for row in rows], query.axes)
        column = next((i for i, axis in enumerate(query.axes) if axis.name == name), None)
        sign = 1.0 if column is None else query.axes[column].measure.sign
        return np.array(rows, dtype=np.int64), matrix, column, sign

    def _expected(self, fresh: FreshValues) -> Vector:
        """Return each student's expected mean over seeds (num_records,).

        For a student that was not trained again, this is its value in the search, made worse by the average regression of the
        others, within the measure's bounds.
        """
        found, name = self.estimates(fresh).values(), self._primary.name
        gain_sign = -self._primary.sign
        gain = min(0.0, gain_sign * float(np.mean([one.mean - one.searched for one in found]))) if found else 0.0
        rows = [
            np.mean(fresh[r.trial_id]) if r.trial_id in fresh else r.measures[name] + gain_sign * gain for r in self.records
        ]
        return clipped(np.array(rows, dtype=np.float64), self._primary)

    @property
    def _primary(self) -> Measure:
        return self.query.primary

    @cached_property
    def _sample(self) -> ValidationSample:
        return ValidationSample.of(
            self._primary, self.num_judged, {record.trial_id: record.measures for record in self.records}
        )

    @cached_property
    def _errors(self) -> Vector:
        return self._sample.errors_of([record.trial_id for record in self.records])

    def estimates(self, fresh: FreshValues) -> dict[str, Estimate]:
        """Return an estimate of each trial in `fresh`."""
        searched = {record.trial_id: record.measures[self._primary.name] for record in self.records}
        return estimates(searched, {trial: runs for trial, runs in fresh.items() if trial in searched}, self._sample)

    def cautious(self, fresh: FreshValues) -> SelectionQuery:
        """Return the query with the estimates that a choice uses: the confidence bound of each student on the worse side.

        A student that was not trained again gets the bound that it would have if a training confirmed its estimate, so that
        being untested is no advantage.
        """
        bounds = self._bounds(self._expected(fresh), self._seeds(fresh), SeedSpread.of(fresh, self._sample))
        return self._estimated(bounds)

    def _seeds(self, fresh: FreshValues) -> Vector:
        return np.array([len(fresh.get(record.trial_id, ())) or self.seeds for record in self.records], dtype=np.float64)

    def _bounds(self, means: Vector, seeds: Vector, spread: SeedSpread) -> Vector:
        return spread.bound(means, seeds, self._errors) if self.seeds > 1 else means

    def _estimated(self, values: Vector) -> SelectionQuery:
        """Return the query with these estimates of the primary measure (num_records,)."""
        trials = (record.trial_id for record in self.records)
        return replace(self.query, estimates=dict(zip(trials, values.tolist(), strict=True)))
