"""Fronts against brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tutelage.pareto import Front, hypervolume, non_dominated_mask, rank

Matrix = NDArray[np.float64]


def matrices(columns: int) -> st.SearchStrategy[Matrix]:
    """Small whole numbers, so that ties and duplicates are common."""
    return st.integers(1, 14).flatmap(lambda rows: arrays(np.float64, (rows, columns), elements=st.integers(0, 5).map(float)))


def brute_force_mask(losses: Matrix) -> list[bool]:
    def dominates(a: Matrix, b: Matrix) -> bool:
        return bool((a <= b).all() and (a < b).any())

    return [not any(dominates(other, row) for other in losses) for row in losses]


@given(st.one_of(matrices(2), matrices(3)))
def test_the_mask_is_that_of_brute_force(losses: Matrix) -> None:
    assert non_dominated_mask(losses).tolist() == brute_force_mask(losses)


@given(matrices(3), st.randoms())
def test_masks_and_ranks_move_with_their_rows(losses: Matrix, random: np.random.Generator) -> None:
    order = list(range(len(losses)))
    random.shuffle(order)
    assert rank(losses[order]).tolist() == rank(losses)[order].tolist()
    assert non_dominated_mask(losses[order]).tolist() == non_dominated_mask(losses)[order].tolist()


@given(matrices(2))
def test_a_rank_is_one_more_than_the_best_that_dominates(losses: Matrix) -> None:
    ranks = rank(losses)
    assert (ranks == 0).tolist() == brute_force_mask(losses)
    for i, row in enumerate(losses):
        above = [ranks[j] for j, o in enumerate(losses) if (o <= row).all() and (o < row).any()]
        assert ranks[i] == (max(above) + 1 if above else 0)


@given(matrices(2))
def test_increasing_transforms_and_duplicates_change_nothing(losses: Matrix) -> None:
    mask = non_dominated_mask(losses)
    assert non_dominated_mask(np.exp(losses)).tolist() == mask.tolist()
    assert non_dominated_mask(np.vstack([losses, losses])).tolist() == [*mask, *mask]


@given(st.one_of(matrices(2), matrices(3)))
def test_the_incremental_front_is_the_batch_front_after_every_row(losses: Matrix) -> None:
    front = Front()
    for position, row in enumerate(losses):
        entered = front.add(row, str(position))
        mask = non_dominated_mask(losses[: position + 1])
        assert set(front) == {str(i) for i in np.flatnonzero(mask)}
        assert entered == mask[-1]
    reference = [6.0] * losses.shape[1]
    assert front.hypervolume(reference) == pytest.approx(hypervolume(losses, reference))


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_the_hypervolume_of_a_staircase(n: int) -> None:
    """Points (i, n-1-i) up to (n, n): n² less the triangle below the stairs, n(n-1)/2."""
    stairs = [[i, n - 1 - i] for i in range(n)]
    assert hypervolume(stairs[::-1][1:] + stairs[-1:], [n, n]) == pytest.approx(n * n - n * (n - 1) / 2)


def test_the_hypervolume_of_zdt1() -> None:
    """ZDT1's front f2 = 1 - √f1 up to (11, 11) dominates 120 + 2/3 (Zitzler, Deb and Thiele, 2000)."""
    f1 = np.linspace(0, 1, 200_001)
    assert hypervolume(np.column_stack([f1, 1 - np.sqrt(f1)]), [11, 11]) == pytest.approx(120 + 2 / 3, abs=1e-4)


@given(matrices(2), st.tuples(st.integers(0, 7), st.integers(0, 7)))
def test_a_further_row_never_lowers_the_hypervolume(losses: Matrix, row: tuple[int, int]) -> None:
    more = np.vstack([losses, row])
    assert hypervolume(more, [6, 6]) >= hypervolume(losses, [6, 6])


def test_rows_at_or_beyond_the_reference_add_nothing() -> None:
    assert hypervolume([[2.0, 3.0]], [5, 7]) == 3 * 4
    assert hypervolume([[5.0, 0.0], [9.0, -4.0]], [5, 7]) == 0.0
    assert hypervolume(np.zeros((0, 2)), [1, 1]) == 0.0


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_an_error(odd: float) -> None:
    for function in (non_dominated_mask, rank):
        with pytest.raises(ValueError, match="finite"):
            function([[0.0, odd]])
    with pytest.raises(ValueError, match="finite"):
        Front().add([0.0, odd], "a")


@pytest.mark.parametrize("reference", [[np.nan, 3.0], [np.inf, 3.0], [3.0], [3.0, 3.0, 3.0]])
def test_a_reference_point_that_does_not_fit_is_an_error(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="reference must be finite"):
        hypervolume([[1.0, 2.0]], reference)


def test_one_point_rules_them_all() -> None:
    front = Front()
    for key, row in {"c": [3, 3], "a": [1, 4], "b": [4, 1]}.items():
        front.add(row, key)
    assert sorted(front) == ["a", "b", "c"]
    assert front.add([0, 0], "z")
    assert list(front) == ["z"]
