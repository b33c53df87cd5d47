"""Pareto fronts over arrays of losses (num_rows, num_objectives), lower is better.

A row dominates another if it is no worse in every objective and better in one; so equal rows do not dominate each other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray


def _checked(losses: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(losses, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"losses must be a finite matrix (num_rows, num_objectives). Got {matrix.shape=}, {matrix}.")
    return matrix


def non_dominated_mask(losses: ArrayLike) -> NDArray[np.bool_]:
    """Return for each row whether no other dominates it; all of several equal rows are kept."""
    matrix = _checked(losses)
    if len(matrix) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(matrix, keep_weakly=True), dtype=bool)


def rank(losses: ArrayLike) -> NDArray[np.int64]:
    """Return each row's layer, from 0: the rows that are not dominated once all lower layers are taken away."""
    matrix = _checked(losses)
    if len(matrix) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(matrix), dtype=np.int64)


def hypervolume(losses: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume that `losses` dominate up to `reference` (num_objectives,).

    A row that is not better than the reference in every objective adds nothing; no such row gives 0.
    """
    matrix, point = _checked(losses), np.asarray(reference, dtype=np.float64)
    if point.shape != matrix.shape[1:] or not np.isfinite(point).all():
        raise ValueError(f"the reference must be finite, one value an objective. Got {point} for {matrix.shape[1]}.")
    inside = matrix[(matrix < point).all(axis=1)] if len(matrix) else matrix
    return float(moocore.hypervolume(inside, ref=point)) if len(inside) else 0.0


def hypervolume_contributions(losses: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return for each row (num_rows,) what the hypervolume of the front up to `reference` would lose without it.

    Dominated rows are left out first, so none of them takes the place of a row. A row that is dominated, that another equals,
    or that is outside the reference adds nothing.
    """
    matrix, point = _checked(losses), np.asarray(reference, dtype=np.float64)
    found, inside = np.zeros(len(matrix)), (matrix < point).all(axis=1)
    if inside.any():
        found[inside] = moocore.hv_contributions(matrix[inside], ref=point)
    return found


class Front:
    """The non-dominated rows so far, each under a key. Adding costs O(log n) of comparisons for two objectives.

    For two objectives the rows are kept sorted by the first: along the front the second then falls, so that a newcomer
    is dominated only by its left neighbour and dominates only a run to its right.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._keys: list[str] = []

    def __iter__(self) -> Iterator[str]:
        """Give the keys of the rows on the front."""
        return iter(tuple(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, losses: ArrayLike, key: str) -> bool:
        """Add one row (num_objectives,); return whether it is on the front. Rows that it dominates leave."""
        row = tuple(float(value) for value in _checked(np.atleast_2d(np.asarray(losses)))[0])
        assert not self._rows or len(row) == len(self._rows[0]), "rows of one front have the same objectives"
        return self._add_sorted(row, key) if len(row) == 2 else self._add_any(row, key)

    def hypervolume(self, reference: ArrayLike) -> float:
        """Return the front's hypervolume up to `reference`."""
        return hypervolume(np.array(self._rows), reference) if self._rows else 0.0

    def _add_sorted(self, row: tuple[float, ...], key: str) -> bool:
        place = bisect_right(self._rows, row)
        if place and self._rows[place - 1] != row and self._rows[place - 1][1] <= row[1]:
            return False
        end = bisect_left(self._rows, True, lo=place, key=lambda other: other[1] < row[1])
        self._rows[place:end] = [row]
        self._keys[place:end] = [key]
        return True

    def _add_any(self, row: tuple[float, ...], key: str) -> bool:
        matrix = np.array([*self._rows, row])
        mask = non_dominated_mask(matrix)
        if not mask[-1]:
            return False
        self._rows = [r for r, keep in zip([*self._rows, row], mask, strict=True) if keep]
        self._keys = [k for k, keep in zip([*self._keys, key], mask, strict=True) if keep]
        return True
