"""The student with the largest expected gain of hypervolume; its sizes are known before training.

A Gaussian process over sizes and searched values predicts the error, learnt from the students that had all their epochs. The
student is chosen from a pool: random students, variations of those on the front, and variations of the best of these. The sizes
of the pool are predicted as well, and computed for the best few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from tutelage import pareto
from tutelage.search.expected_improvement import Gain
from tutelage.search.gaussian_process import Array, Regression
from tutelage.spec.domains import Choice, Domain, any_value, nearest_value
from tutelage.spec.space import Space

STARTUP = 6  # finished students before the model is used; until then suggestions are random


POOL = 64  # students in the pool, and in each further generation


GENERATIONS = 1  # further generations


PARENTS = 8  # of the best students so far, which are varied


SMALLER = 0.1  # of the range of sizes, by which a student may be smaller than all so far, and gain by it


SIZED = (6, 16)  # of the best of them, sizes are computed: at least and at most


STEP = 0.15  # of a range, standard deviation by which a value varies


ALSO = 0.2  # of the other values vary with the one that does


Params = Mapping[str, Any]


SizeLosses = Callable[[Params], Array | None]


@dataclass(kw_only=True)
class _Tried:
    """A student that was started: its losses known before training, and at its end the even loss of its primary measure."""

    params: Params
    traits: list[float]
    known: Array
    end: float | None = None


@dataclass
class SizeAware:
    """Suggests the searched values of the next student, from the students so far, by number.

    `size_losses(params)` returns a student's losses other than its error, on a logarithmic scale, before it is trained; None
    for a student that violates a constraint, or whose size training decides. `reference` is the reference point of the
    hypervolume, the primary measure last. The same history gives the same suggestion for a number.
    """

    space: Space
    size_losses: SizeLosses
    seed: int
    reference: Array
    worst: float = 0.0  # even loss of the primary measure from which on a student improves no front
    _tried: dict[int, _Tried] = field(default_factory=dict)
    _error: Regression = field(default_factory=Regression)
    _sizes: list[Regression] = field(default_factory=list)

    def started(self, number: int, params: Params, known: Array | None) -> None:
        """Add a student that is trained now."""
        if known is not None:
            self._tried[number] = _Tried(params=params, traits=self.space.traits(params), known=known)

    def add_finished(self, params: Params, known: Array | None, end: float) -> None:
        """Add a finished student of another search that lies in this search space."""
        number = min(self._tried, default=0)
        self.started(min(number, 0) - 1, params, known)
        self.finished(min(number, 0) - 1, end)

    def finished(self, number: int, end: float) -> None:
        """Learn the even loss of the primary measure of a finished student."""
        if number in self._tried:
            self._tried[number].end = end

    def discarded(self, number: int) -> None:
        """Remove a student that did not finish."""
        self._tried.pop(number, None)

    def suggest(self, number: int) -> Params | None:
        """Return the searched values of the next student, the `number`-th; None until `STARTUP` students have finished."""
        if len(self._ended) < STARTUP:
            return None
        self._learn()
        random, gain = Random(f"{self.seed} {number}"), self._gain()
        front = self._front()
        drawn = [varied(self.space, random.choice(front), random) if n % 2 else _any(self.space, random) for n in range(POOL)]
        pool = self._new(drawn, [])
        gains = self._predicted_gains(pool, gain)
        for _ in range(GENERATIONS):
            best = [pool[row] for row in np.argsort(-gains, kind="stable")[:PARENTS]]
            new = self._new([varied(self.space, random.choice(best), random) for _ in range(POOL if best else 0)], pool)
            pool, gains = pool + new, np.concatenate([gains, self._predicted_gains(new, gain)])
        return self._best(pool, gains, gain)

    def _new(self, drawn: list[Params], beside: list[Params]) -> list[Params]:
        """Return each of `drawn` once, without students that were started or are among `beside`."""
        known = {_key(params) for params in [*(one.params for one in self._tried.values()), *beside]}
        return [params for key, params in {_key(params): params for params in drawn}.items() if key not in known]

    def _learn(self) -> None:
        """Fit the model of errors to the finished students, and the models of sizes to all."""
        self._error.learn(np.array([_features(one.known, one.traits) for one in self._ended]), self._ends)
        tried = [self._tried[number] for number in sorted(self._tried)]
        rows, known = np.array([one.traits for one in tried]), np.array([one.known for one in tried])
        self._sizes = self._sizes or [Regression() for _ in range(known.shape[1])]
        for regression, column in zip(self._sizes, known.T, strict=True):
            regression.learn(rows, column)

    def _front(self) -> list[Params]:
        rows = np.column_stack([np.array([one.known for one in self._ended]), self._ends])
        return [self._ended[row].params for row in np.flatnonzero(pareto.non_dominated_mask(rows))]

    @property
    def _ended(self) -> list[_Tried]:
        """The finished students by number. A resumed search does not have the order in which they finished."""
        return [self._tried[number] for number in sorted(self._tried) if self._tried[number].end is not None]

    @property
    def _ends(self) -> Array:
        return np.array([one.end for one in self._ended], dtype=np.float64)

    def _best(self, pool: list[Params], predicted: Array, gain: Gain) -> Params | None:
        """Return the student of the pool with the largest gain at its computed sizes; None if no student meets the constraints.

        Students are sized in the order of their `predicted` gains. After a few of them, the first one that has a larger gain
        than is predicted of the next is returned.
        """
        fewest, most = SIZED
        chosen, best, num_sized = None, -math.inf, 0
        for row in np.argsort(-predicted, kind="stable")[: 4 * most].tolist():
            if num_sized == most or (num_sized >= fewest and best >= predicted[row]):
                break
            known = self.size_losses(pool[row])
            if known is not None:
                num_sized += 1
                own = float(gain.of(known[None], *self._expected(known[None], self._traits([pool[row]])))[0])
                if own > best:
                    chosen, best = pool[row], own
        return chosen

    def _predicted_gains(self, pool: list[Params], gain: Gain) -> Array:
        """Return the gains [m] of students by their predicted sizes."""
        if not pool:
            return np.empty(0)
        traits = self._traits(pool)
        columns = [regression.predict(traits)[0] for regression in self._sizes]
        known = np.column_stack(columns) if columns else np.empty((len(pool), 0))
        return gain.of(known, *self._expected(known, traits))

    def _traits(self, pool: list[Params]) -> Array:
        return np.array([self.space.traits(params) for params in pool])

    def _expected(self, known: Array, traits: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation [m] of the ends of students with these losses and traits."""
        return self._error.predict(np.column_stack([known, traits]))

    def _gain(self) -> Gain:
        """Return the gain over the finished students and the running ones, these at their expected results."""
        before, ends = np.array([one.known for one in self._ended]), self._ends
        running = [self._tried[number] for number in sorted(self._tried) if self._tried[number].end is None]
        if running:
            known, traits = (np.array([getattr(one, name) for one in running]) for name in ("known", "traits"))
            before, ends = np.concatenate([before, known]), np.concatenate([ends, self._expected(known, traits)[0]])
        smallest = before.min(axis=0)
        lowest = smallest - SMALLER * np.abs(self.reference[:-1] - smallest)
        return Gain(before, ends, lowest=lowest, reference=self.reference, worst=self.worst)


def _key(params: Params) -> tuple[Any, ...]:
    return tuple(sorted(params.items()))


def _features(known: Array, traits: list[float]) -> list[float]:
    return [*known.tolist(), *traits]


def _any(space: Space, random: Random) -> Params:
    return space.resolve(lambda name, domain: any_value(random, domain))[1]


def varied(space: Space, params: Params, random: Random) -> Params:
    """Return a variation of a student: one of its searched values changes, and perhaps a few others."""
    changed = random.choice(sorted(params))

    def near(name: str, domain: Domain) -> Any:
        if name not in params:
            return any_value(random, domain)
        return _moved(domain, params[name], random) if name == changed or random.random() < ALSO else params[name]

    return space.resolve(near)[1]


def _moved(domain: Domain, value: Any, random: Random) -> Any:
    if isinstance(domain, Choice):
        return any_value(random, domain)
    low, high, at = (math.log(number) if domain.log else number for number in (domain.low, domain.high, value))
    moved = min(high, max(low, at + random.gauss(0, STEP) * (high - low)))
    return nearest_value(domain, math.exp(moved) if domain.log else moved)
