"""What suggests the students of a replayed search: a list, or a sampler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tutelage.search.gaussian_process import Array
from tutelage.search.recorded_table import Table
from tutelage.search.sampler import Sampler
from tutelage.spec.space import Space


class Arrivals(Protocol):
    """What proposes students to a replayed search. A trial's number is its place among those that came."""

    def next(self) -> int | None:
        """Return the row of the table that the next trial is; None if there are no more."""
        ...

    def seen(self, trial: int, epochs: int, losses: Array) -> None:
        """Learn of a trial at a rung, or in the end, by its losses on even scales."""
        ...

    def stopped(self, trial: int) -> None:
        """Learn that a trial has none of its further epochs."""
        ...


class Listed:
    """A list of rows, one after the other."""

    def __init__(self, rows: Iterable[int]) -> None:
        self._rows = iter(rows)

    def next(self) -> int | None:
        """Return the next of the list."""
        return next(self._rows, None)

    def seen(self, trial: int, epochs: int, losses: Array) -> None:
        """Learn nothing."""

    def stopped(self, trial: int) -> None:
        """Learn nothing."""


class Sampled:
    """What a sampler proposes, each replaced by the nearest student of the table; `num_trials` of them."""

    def __init__(self, sampler: Sampler, space: Space, table: Table, num_trials: int) -> None:
        self._sampler, self._space, self._table, self._left = sampler, space, table, num_trials

    def next(self) -> int | None:
        """Ask the sampler."""
        if self._left == 0:
            return None
        self._left -= 1
        return self._table.nearest(self._space.traits(self._sampler.ask().params))

    def seen(self, trial: int, epochs: int, losses: Array) -> None:
        """Tell the sampler."""
        if epochs == self._table.max_epochs:
            self._sampler.tell_finished(trial, losses.tolist(), {})
        else:
            self._sampler.observe(trial, epochs, losses.tolist())

    def stopped(self, trial: int) -> None:
        """Tell the sampler."""
        self._sampler.tell_stopped(trial)
