"""Proposes the student that is expected to end furthest below the front at its own size, as sizes are known before training.

Only the error has to be learnt: a Gaussian process over sizes and searched values, of the students that had all their epochs.
Of a pool of random students and of variations of the front's, the expected improvement (Jones et al., 1998) over the best
that is no larger in anything decides; sizes of the pool are learnt as well, and those of the best few of it asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.search.regression import Array, Regression, best_no_larger, expected_improvement
from tutelage.space import Choice, Domain, Float, Space, any_value

STARTUP = 6  # students that have ended before anything is learnt from them; until then draws are random
POOL = 64  # students to choose among
SIZED = (4, 16)  # of them, the best, whose sizes are asked for: at least, where all were guessed well, and at most
GUESSED = 0.01  # of log10 of a size, between what was guessed and what it is: well
STEP = 0.15  # of a range, standard deviation by which a value varies
ALSO = 0.2  # of the other values vary with the one that does

Params = Mapping[str, Any]
KnownLosses = Callable[[Params], Array | None]


@dataclass(kw_only=True)
class _Tried:
    """A student that was handed out: its losses that were known before training, and its end, log10 of its error."""

    params: Params
    traits: list[float]
    known: Array
    end: float | None = None


@dataclass
class SizeAware:
    """Learns of students by their numbers, and proposes the next one's searched values.

    `known_losses(params)` gives a student's losses other than its error before training, on a logarithmic scale; None for
    one that is not wanted, or whose training decides them. The same history gives the same proposal for a number.
    """

    space: Space
    known_losses: KnownLosses
    seed: int
    _tried: dict[int, _Tried] = field(default_factory=dict)
    _error: Regression = field(default_factory=Regression)
    _sizes: dict[int, Regression] = field(default_factory=dict)

    def begun(self, number: int, params: Params, known: Array | None) -> None:
        """Know of a student that is trained now."""
        if known is not None:
            self._tried[number] = _Tried(params=params, traits=self.space.traits(params), known=known)

    def know(self, params: Params, known: Array | None, end: float) -> None:
        """Learn from a student of another search, which this space could have given."""
        number = min(self._tried, default=0)
        self.begun(min(number, 0) - 1, params, known)
        self.finished(min(number, 0) - 1, end)

    def finished(self, number: int, end: float) -> None:
        """Learn with what error, log10, a student ended."""
        if number in self._tried:
            self._tried[number].end = end

    def given_up(self, number: int) -> None:
        """Forget a student that did not come to its end."""
        self._tried.pop(number, None)

    def propose(self, number: int) -> Params | None:
        """Return the searched values of the next student, the `number`-th; None while too little is known to choose."""
        if len(self._ended) < STARTUP:
            return None
        random = Random(f"{self.seed} {number}")
        pool = self._pool(random)
        if not pool:
            return None
        traits = np.array([self.space.traits(params) for params in pool])
        self._error.learn(np.array([_features(one.known, one.traits) for one in self._ended]), self._ends)
        guessed = self._guessed(traits)
        gains = self._gains(guessed, traits)
        chosen, most = None, -math.inf
        for row, known in self._sized(pool, guessed, np.argsort(-gains, kind="stable")):
            gain = float(self._gains(known[None], traits[[row]])[0])
            if gain > most:
                chosen, most = pool[row], gain
        return chosen

    def _pool(self, random: Random) -> list[Params]:
        front, given = self._front(), {tuple(sorted(one.params.items())) for one in self._tried.values()}
        drawn = [
            varied(self.space, random.choice(front), random) if place % 2 else _any(self.space, random) for place in range(POOL)
        ]
        new = {key: params for params in drawn if (key := tuple(sorted(params.items()))) not in given}
        return list(new.values())

    def _front(self) -> list[Params]:
        known, ends = np.array([one.known for one in self._ended]), self._ends
        best = best_no_larger(known, known, ends)
        return [one.params for one, end, least in zip(self._ended, ends, best, strict=True) if end <= least]

    @property
    def _ended(self) -> list[_Tried]:
        """Those that ended, in the order in which they were handed out: in which order they ended, a new driver cannot know."""
        return [self._tried[number] for number in sorted(self._tried) if self._tried[number].end is not None]

    @property
    def _ends(self) -> Array:
        return np.array([one.end for one in self._ended], dtype=np.float64)

    def _sized(self, pool: list[Params], guessed: Array, order: NDArray[np.int64]) -> list[tuple[int, Array]]:
        """Return the first rows in `order` that are wanted, with their losses known before training."""
        fewest, most = SIZED
        found: list[tuple[int, Array]] = []
        is_guessed = True
        for row in order[: 4 * most]:
            known = self.known_losses(pool[row])
            if known is not None:
                found.append((int(row), known))
                is_guessed = is_guessed and bool((np.abs(known - guessed[row]) < GUESSED).all())
            if len(found) == most or (is_guessed and len(found) == fewest):
                break
        return found

    def _guessed(self, traits: Array) -> Array:
        """Return the losses known before training as those of all students so far have them, [m, k]."""
        tried = [self._tried[number] for number in sorted(self._tried)]
        rows, known = np.array([one.traits for one in tried]), np.array([one.known for one in tried])
        columns = []
        for column in range(known.shape[1]):
            regression = self._sizes.setdefault(column, Regression())
            regression.learn(rows, known[:, column])
            columns.append(regression.predict(traits)[0])
        return np.column_stack(columns) if columns else np.empty((len(traits), 0))

    def _gains(self, known: Array, traits: Array) -> Array:
        """Return the expected improvement over the students that ended, and those under way as they are expected to end."""
        mean, deviation = self._error.predict(np.column_stack([known, traits]))
        before, ends = np.array([one.known for one in self._ended]), self._ends
        under_way = [self._tried[number] for number in sorted(self._tried) if self._tried[number].end is None]
        if under_way:
            expected, _ = self._error.predict(np.array([_features(one.known, one.traits) for one in under_way]))
            before, ends = np.concatenate([before, [one.known for one in under_way]]), np.concatenate([ends, expected])
        return expected_improvement(best_no_larger(known, before, ends), mean, deviation)


def _features(known: Array, traits: list[float]) -> list[float]:
    return [*known.tolist(), *traits]


def _any(space: Space, random: Random) -> Params:
    return space.resolve(lambda name, domain: any_value(random, domain))[1]


def varied(space: Space, params: Params, random: Random) -> Params:
    """Return a neighbour of a student: one of its searched values another, and a few more."""
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
    wanted = math.exp(moved) if domain.log else moved
    if domain.step is not None:
        wanted = domain.low + round((wanted - domain.low) / domain.step) * domain.step
    wanted = min(domain.high, max(domain.low, wanted))
    return float(wanted) if isinstance(domain, Float) else round(wanted)
