"""Which students are worth their next epochs: rules over what was seen at a rung, a number of epochs. Pure arrays.

Sizes are known before a student is trained, its quality is not. So at a rung a student is compared by its known losses, lower
is better, and by its error there: how far its primary measure is from the best value (1 less a share, or an error rate as it
is). Trials and constraints are not known here: a stopped trial never enters the front, and a student that misses a constraint
is never trained; other code sees to both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage import pareto

Array = NDArray[np.float64]


class Rule(Protocol):
    """A rule sees every student that reaches a rung, in the order in which they do, and every finished one."""

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        """Return whether a student with these losses `[known]` and this error is not worth its epochs beyond the rung.

        `variance` is the error's sampling variance over the validation examples, where it was estimated.
        """
        ...

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Learn from a student that had all its epochs: its error at each rung, and at last."""
        ...


BINS = 2000  # of a histogram over differences of error: for a share from -1 to 1, to a thousandth


class Gains:
    """A histogram of differences of error, and its quantiles; of bounded errors, or of errors of any magnitude.

    The bins of errors within a `span` are equally wide. Without one (None) their width grows with the difference, a constant
    share of it over 24 decades, so that the quantiles do not depend on the error's unit.
    """

    SMALLEST, DECADES = 1e-12, 24

    def __init__(self, span: float | None) -> None:
        self.span, self.counts = span, np.zeros(BINS, dtype=np.int64)

    def add(self, differences: Array) -> None:
        """Count differences `[n]`."""
        places = np.clip(((self._unit(differences) + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def quantile(self, confidence: float) -> float:
        """Return the upper end of the bin below which a share `confidence` lies; 0 of nothing."""
        total = self.counts.sum()
        if total == 0:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self.counts), confidence * total))
        return self._difference((min(place, BINS - 1) + 1) * 2 / BINS - 1)

    def _unit(self, differences: Array) -> Array:
        """Return differences on a scale from -1 to 1."""
        if self.span is not None:
            return differences / self.span
        size = np.log1p(np.abs(differences) / self.SMALLEST) / (self.DECADES * math.log(10))
        return np.sign(differences) * size

    def _difference(self, unit: float) -> float:
        """Return what `_unit` makes of `unit`."""
        if self.span is not None:
            return unit * self.span
        return math.copysign(self.SMALLEST * math.expm1(abs(unit) * self.DECADES * math.log(10)), unit)


class Dominance:
    """A student is stopped if one that is no larger in anything was better at the rung by more than a margin.

    The margin at a rung is learned: over all pairs of finished students of which one was behind a no larger one there, the
    `confidence` quantile of how much it made up by the end; and at least `noise` standard errors of the difference of two
    errors. That is known of an error that is a share of `num_judged` examples; of others (None) it is estimated beside the
    error, 0 without an estimate. Before `startup` students have finished, none is stopped. `span` is that of possible errors,
    None where they have no bound.
    """

    def __init__(
        self, *, num_judged: int | None, confidence: float = 0.9, noise: float = 1.0, startup: int = 8, span: float | None = 1.0
    ) -> None:
        self.num_judged, self.confidence, self.noise, self.startup = num_judged, confidence, noise, startup
        self.span = span
        self._seen: dict[int, _Rows] = {}
        self._finished: dict[int, _Rows] = {}
        self._gains: dict[int, Gains] = {}

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        """Return whether a no larger student was better by more than the margin; the newcomer is remembered either way."""
        seen = self._seen.setdefault(rung, _Rows(len(known) + 1))
        rows = seen.rows
        no_larger = (rows[:, :-1] <= known).all(axis=1)
        best = rows[no_larger, -1].min(initial=math.inf)
        seen.add(np.append(known, error))
        return bool(best + self.margin(rung, error, variance) < error)

    def margin(self, rung: int, error: float, variance: float | None = None) -> float:
        """Return by how much an error must be behind for its student to be stopped; infinite until enough have finished."""
        finished = self._finished.get(rung)
        if finished is None or len(finished.rows) < self.startup:
            return math.inf
        if self.num_judged is not None:
            variance = error * (1 - error) / self.num_judged
        noise = self.noise * math.sqrt(2 * (variance or 0.0))
        return max(noise, self._gains[rung].quantile(self.confidence))

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Learn how far this student caught up with those no larger, and how far those no smaller did with it."""
        for rung, error in errors.items():
            rows = self._finished.setdefault(rung, _Rows(len(known) + 2))
            others = rows.rows
            behind = (others[:, :-2] <= known).all(axis=1) & (others[:, -2] < error)
            ahead = (others[:, :-2] >= known).all(axis=1) & (others[:, -2] > error)
            gained = np.concatenate([
                (error - others[behind, -2]) - (last - others[behind, -1]),
                (others[ahead, -2] - error) - (others[ahead, -1] - last),
            ])  # fmt: skip
            self._gains.setdefault(rung, Gains(self.span)).add(gained)
            rows.add(np.array([*known, error, last]))


class Halving:
    """Of the students that reached a rung, the best 1 / `factor` continue (MO-ASHA; Schmucker et al., 2021; Li et al., 2020).

    Best is by layer of non-dominated known losses and error, and within a layer by the distance to its neighbours, the
    outermost first (crowding; Deb et al., 2002). Asynchronous: each is compared with those before it; the first `factor`
    continue.
    """

    def __init__(self, *, factor: int = 3) -> None:
        self.factor = factor
        self._seen: dict[int, _Leaders] = {}

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        """Return whether the newcomer is not among the best 1 / `factor` of the rung so far."""
        seen = self._seen.setdefault(rung, _Leaders(len(known) + 1))
        wanted = max(math.ceil((len(seen) + 1) / self.factor), 1)
        place = seen.add(np.append(known, error), wanted)
        return len(seen) > self.factor and place >= wanted

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Learn nothing: this rule uses ranks alone."""


class _Leaders:
    """The rows of a rung, of which the first layers alone are ranked, as they decide who is among the best.

    Adding a row never improves another row's rank, so a row behind a layer stays behind it and cannot lower the rank of a row
    before it. The ranks of the leaders among themselves are therefore their ranks among all, up to the last complete layer.
    """

    RESERVE = 1.25  # leaders that are kept for each one that is needed, so that they last for a while

    def __init__(self, width: int) -> None:
        self._rows, self._leaders, self._num_layers = _Rows(width), _Rows(width), 0

    def __len__(self) -> int:
        return len(self._rows.rows)

    def add(self, row: Array, wanted: int) -> int:
        """Return how many rows come before the newcomer, by layer, then by crowding; `wanted` stands for all that are more."""
        self._rows.add(row)
        self._leaders.add(row)
        ranks = pareto.rank(self._leaders.rows)
        if (ranks < self._num_layers).sum() < wanted:
            ranks = self._hold(wanted)
        own = ranks[-1]
        if own >= self._num_layers:
            self._leaders.drop_last()
            return wanted
        crowding = crowding_distance(self._leaders.rows[ranks == own])
        return int((ranks < own).sum()) + int((crowding[:-1] > crowding[-1]).sum())

    def _hold(self, wanted: int) -> NDArray[np.int64]:
        """Hold the first layers of all rows, somewhat more than are wanted, and the newcomer; return their ranks."""
        rows = self._rows.rows
        ranks = pareto.rank(rows)
        sizes = np.cumsum(np.bincount(ranks))
        self._num_layers = int(np.searchsorted(sizes, min(self.RESERVE * wanted, len(rows)))) + 1
        kept = ranks < self._num_layers
        kept[-1] = True
        self._leaders = _Rows(rows.shape[1])
        for row in rows[kept]:
            self._leaders.add(row)
        found: NDArray[np.int64] = ranks[kept]
        return found


def crowding_distance(rows: Array) -> Array:
    """Return each row's distance to its neighbours, in shares of an objective's range and summed; the outermost have inf."""
    found = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        found[order[[0, -1]]] = math.inf
        if spread > 0:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return found


class _Rows:
    """Rows that are added one at a time and read all at once."""

    def __init__(self, width: int) -> None:
        self._held, self._count = np.empty((64, width)), 0

    @property
    def rows(self) -> Array:
        return self._held[: self._count]

    def drop_last(self) -> None:
        self._count -= 1

    def add(self, row: Array) -> None:
        if self._count == len(self._held):
            self._held = np.concatenate([self._held, np.empty_like(self._held)])
        self._held[self._count] = row
        self._count += 1
