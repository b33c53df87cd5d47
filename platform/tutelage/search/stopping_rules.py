"""Which students are worth their next epochs: rules over what was seen at a rung, a number of epochs. Pure arrays.

Sizes are known before a student is trained, its accuracy is not. So at a rung a student is compared by its known losses, lower
is better, and by its error there, 1 - accuracy. Nothing here knows what a trial is: that a stopped one never enters the front,
and that what misses a constraint is not trained at all, is seen to elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage import pareto

Array = NDArray[np.float64]


BINS = 2000  # of a histogram over differences of error, -1 to 1: to a thousandth


class Rule(Protocol):
    """A rule is told of every student that comes to a rung, in the order in which they come, and of every finished one."""

    def stops(self, rung: int, known: Array, error: float) -> bool:
        """Return whether a student with these losses `[known]` and this error is not worth its epochs beyond the rung."""
        ...

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Learn from a student that had all its epochs: its error at each rung, and at last."""
        ...


class Dominance:
    """A student is stopped if one that is no larger in anything was better at the rung by more than a margin.

    The margin at a rung is learned: the `confidence` quantile of how much students that were behind a no larger one there had
    caught up with it in the end, over all pairs of finished ones; and at least `noise` standard errors of the difference of two
    errors over `num_judged` examples. Before `startup` students have finished nothing is known of that, and none is stopped.
    """

    def __init__(self, *, num_judged: int, confidence: float = 0.9, noise: float = 1.0, startup: int = 8) -> None:
        self.num_judged, self.confidence, self.noise, self.startup = num_judged, confidence, noise, startup
        self._seen: dict[int, _Rows] = {}
        self._finished: dict[int, _Rows] = {}
        self._gains: dict[int, NDArray[np.int64]] = {}

    def stops(self, rung: int, known: Array, error: float) -> bool:
        """Return whether a no larger student was better by more than the margin; the newcomer is remembered either way."""
        seen = self._seen.setdefault(rung, _Rows(len(known) + 1))
        rows = seen.rows
        no_larger = (rows[:, :-1] <= known).all(axis=1)
        best = rows[no_larger, -1].min(initial=math.inf)
        seen.add(np.append(known, error))
        return bool(best + self.margin(rung, error) < error)

    def margin(self, rung: int, error: float) -> float:
        """Return by how much an error must be behind to be given up; infinite until enough students have finished."""
        finished = self._finished.get(rung)
        if finished is None or len(finished.rows) < self.startup:
            return math.inf
        noise = self.noise * math.sqrt(2 * error * (1 - error) / self.num_judged)
        return max(noise, self._quantile(rung))

    def _quantile(self, rung: int) -> float:
        counts = self._gains[rung]
        total = counts.sum()
        if total == 0:
            return 0.0
        place = int(np.searchsorted(np.cumsum(counts), self.confidence * total))
        return (min(place, BINS - 1) + 1) * 2 / BINS - 1

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Learn how far this student caught up with those no larger, and how far those no smaller did with it."""
        for rung, error in errors.items():
            rows = self._finished.setdefault(rung, _Rows(len(known) + 2))
            self._gains.setdefault(rung, np.zeros(BINS, dtype=np.int64))
            others = rows.rows
            behind = (others[:, :-2] <= known).all(axis=1) & (others[:, -2] < error)
            ahead = (others[:, :-2] >= known).all(axis=1) & (others[:, -2] > error)
            gained = np.concatenate([
                (error - others[behind, -2]) - (last - others[behind, -1]),
                (others[ahead, -2] - error) - (others[ahead, -1] - last),
            ])  # fmt: skip
            places = np.clip(((gained + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
            self._gains[rung] += np.bincount(places, minlength=BINS)
            rows.add(np.array([*known, error, last]))


class Halving:
    """Of the students that came to a rung, the best 1 / `factor` go on (MO-ASHA; Schmucker et al., 2021; Li et al., 2020).

    Best is by layer of non-dominated known losses and error, and within a layer by the distance to its neighbours, the
    outermost first (crowding; Deb et al., 2002). Asynchronous: each is judged among those before it. The first `factor` go on.
    """

    def __init__(self, *, factor: int = 3) -> None:
        self.factor = factor
        self._seen: dict[int, _Leaders] = {}

    def stops(self, rung: int, known: Array, error: float) -> bool:
        """Return whether the newcomer is not among the best 1 / `factor` of the rung so far."""
        seen = self._seen.setdefault(rung, _Leaders(len(known) + 1))
        wanted = max(math.ceil((len(seen) + 1) / self.factor), 1)
        place = seen.add(np.append(known, error), wanted)
        return len(seen) > self.factor and place >= wanted

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Learn nothing: ranks are all it looks at."""


class _Leaders:
    """The rows of a rung, of which the first layers alone are ranked, as they decide who is among the best.

    Newcomers only push rows back: what is behind a layer stays behind it, and so cannot push back a row that is before it. The
    ranks of the leaders among themselves are therefore their ranks among all, up to the last layer that was held whole.
    """

    RESERVE = 1.25  # leaders that are held over those that are wanted, so that they last for a while

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
