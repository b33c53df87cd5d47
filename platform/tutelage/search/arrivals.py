"""The source of a replayed search's students: a list, or a sampler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tutelage.search.gaussian_process import Array
from tutelage.search.recorded_table import Table
from tutelage.search.sampler import Sampler
from tutelage.spec.space import Space


class Arrivals(Protocol):
    """Gives a replayed search its students. Trials are numbered in the order in which they are given."""

    def next(self) -> int | None:
        """Return the next trial's row of the table; None if there are no more."""
        ...

    def seen(self, trial: int, epochs: int, losses: Array) -> None:
        """Add a trial's losses, on even scales, at a rung or at the end."""
        ...

    def stopped(self, trial: int) -> None:
        """Mark a trial as stopped: it is not trained further."""
        ...


class Listed:
    """Rows of a list, in its order."""

    def __init__(self, rows: Iterable[int]) -> None:
        self._rows = iter(rows)

    def next(self) -> int | None:
        """Return the next row of the list."""
        return next(self._rows, None)

    def seen(self, trial: int, epochs: int, losses: Array) -> None:
        """Do nothing: the list is fixed."""

    def stopped(self, trial: int) -> None:
        """Do nothing: the list is fixed."""


class Sampled:
    """`num_trials` suggestions of a sampler, each replaced by the nearest student of the table."""

    def __init__(self, sampler: Sampler, space: Space, table: Table, num_trials: int) -> None:
        self._sampler, self._space, self._table, self._left = sampler, space, table, num_trials

    def next(self) -> int | None:
        """Return the row nearest to the sampler's next suggestion."""
        if self._left == 0:
            return None
        self._left -= 1
        return self._table.nearest(self._space.traits(self._sampler.ask().params))

    def seen(self, trial: int, epochs: int, losses: Array) -> None:
        """Pass the losses to the sampler."""
        if epochs == self._table.max_epochs:
            self._sampler.tell_finished(trial, losses.tolist(), {})
        else:
            self._sampler.observe(trial, epochs, losses.tolist())

    def stopped(self, trial: int) -> None:
        """Pass the stop to the sampler."""
        self._sampler.tell_stopped(trial)
