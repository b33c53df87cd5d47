"""Rows of a matrix that grows."""

from __future__ import annotations

import numpy as np

from tutelage.search.gaussian_process import Array


class Rows:
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
