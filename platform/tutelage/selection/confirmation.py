"""What fresh seeds leave of what a search found: which students need them, and how sure they make one.

The best of many students on one validation split is flattered by luck (the winner's curse). So those that a policy might
take, had the noise fallen otherwise, are trained again with seeds that no search has seen, and the choice rests on these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tutelage import pareto
from tutelage.objectives import losses
from tutelage.records.trial import TrialRecord
from tutelage.selection.estimate import Accuracies, Estimate, Vector, _Spread, estimates
from tutelage.selection.query import SelectionQuery

WORLDS = 200  # in which the noise falls otherwise


WORTH = 0.05  # share of them in which a student must be taken to be trained again


ROUND = 3  # students that are trained again before it is looked again


Train = Callable[[Sequence[str]], Accuracies]  # trains these trials with all fresh seeds that they lack


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The students of a sweep, some of them trained again with `seeds` fresh seeds: whom a query's policy may still take."""

    query: SelectionQuery
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
        return any(one.trial_id in fresh for one in self.query.ranked(self.cautious(fresh)))

    def _rivals(self, fresh: Accuracies) -> list[str]:
        """Return the trials that are worth being trained again, the likeliest first."""
        shares = self.chances(fresh)
        for one in self.query.ranked(self.cautious(fresh))[:1]:
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
            for one in self.query.ranked(self._front(self._sure(means, seeds, spread)))[:1]:
                shares[one.trial_id] = shares.get(one.trial_id, 0.0) + 1 / WORLDS
        return shares

    def _front(self, accuracies: Vector) -> list[TrialRecord]:
        """Return the records, with these accuracies, that fit and that no other such dominates."""
        rows, matrix, column, sign = self._fitting
        low, high = (
            bounds.get("accuracy", limit) for bounds, limit in ((self.query.limits.min, 0), (self.query.limits.max, 1))
        )
        matrix, met = matrix.copy(), (accuracies[rows] >= low) & (accuracies[rows] <= high)
        if column is not None:
            matrix[:, column] = sign * accuracies[rows]
        rows, matrix = rows[met], matrix[met]
        return self._with(accuracies, rows[pareto.non_dominated_mask(matrix)])

    @cached_property
    def _fitting(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int | None, float]:
        """The rows that fit whatever their accuracy, their losses, and where and with what sign accuracy stands in these."""
        query = self.query
        unbound = replace(query, limits=query.limits.without("accuracy"))
        rows = [row for row, fits in enumerate(unbound.fits(self.records)) if fits]
        matrix = losses([self.records[row].measures for row in rows], query.axes)
        column = next((i for i, axis in enumerate(query.axes) if axis.name == "accuracy"), None)
        sign = 1.0 if column is not None and query.axes[column].direction == "minimise" else -1.0
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
