"""Rules of early stopping: students that no rule may stop, changes that affect no decision, and the learned margin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import pareto
from tutelage.search.rules import Rule, dominance, mo_asha

RULES = {
    "dominance": lambda: dominance.Dominance(num_judged=10_000, startup=0),
    "mo-asha": lambda: mo_asha.Halving(factor=3),
}
Come = list[tuple[tuple[float, float], float]]  # known losses and error of each student, in the order in which they come

students = st.lists(
    st.tuples(st.tuples(st.integers(1, 9).map(float), st.integers(1, 9).map(float)), st.integers(1, 99).map(lambda e: e / 100)),
    min_size=1, max_size=40,
)  # fmt: skip


def decided(rule: Rule, come: Come, rung: int = 1) -> list[bool]:
    if isinstance(rule, dominance.Dominance):  # a margin of nothing but noise: whoever is behind stays behind
        rule.finished(np.array([0.0, 0.0]), {rung: 0.999}, 0.999)
    return [rule.stops(rung, np.array(known), error) for known, error in come]


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None)
@given(come=students)
def test_a_new_student_that_dominates_all_is_never_stopped(name: str, come: Come) -> None:
    best = (tuple(min(known[k] for known, _ in come) - 1 for k in range(2)), min(error for _, error in come) / 2)
    assert not decided(RULES[name](), [*come, best])[-1]  # type: ignore[list-item]


@settings(deadline=None)
@given(come=students)
def test_dominance_stops_no_student_that_is_non_dominated_at_the_rung(come: Come) -> None:
    stops = decided(RULES["dominance"](), come)
    for place, stopped in enumerate(stops):
        rows = np.array([[*known, error] for known, error in come[: place + 1]])
        assert not (stopped and pareto.non_dominated_mask(rows)[-1])


@settings(deadline=None)
@given(come=students, seed=st.integers(0, 99))
def test_the_decision_on_a_student_does_not_depend_on_the_order_of_earlier_ones(come: Come, seed: int) -> None:
    shuffled = [come[i] for i in np.random.default_rng(seed).permutation(len(come) - 1)]
    assert decided(RULES["dominance"](), come)[-1] == decided(RULES["dominance"](), [*shuffled, come[-1]])[-1]


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None)
@given(come=students)
def test_decisions_depend_on_the_order_of_sizes_alone(name: str, come: Come) -> None:
    """Crowding is measured on the scale of a loss, so for mo-asha the scale may change, not its shape."""
    turn = math.exp if name == "dominance" else lambda size: 7 * size + 3
    turned = [((turn(a), turn(b)), error) for (a, b), error in come]
    assert decided(RULES[name](), turned) == decided(RULES[name](), come)


@settings(deadline=None)
@given(come=students)
def test_a_duplicate_of_an_earlier_student_changes_no_decision_of_dominance(come: Come) -> None:
    doubled = [one for one in come[:-1] for _ in range(2)]
    assert decided(RULES["dominance"](), [*doubled, come[-1]])[-1] == decided(RULES["dominance"](), come)[-1]


def test_no_student_is_stopped_before_enough_have_finished() -> None:
    rule = dominance.Dominance(num_judged=100, startup=3)
    for number in range(5):
        stopped = rule.stops(1, np.array([float(number)]), 0.1 + 0.2 * number)
        assert stopped is (number >= 3), "the fourth to come is the first to be judged by three that have finished"
        rule.finished(np.array([float(number)]), {1: 0.1 + 0.2 * number}, 0.1 + 0.2 * number)


def test_the_margin_is_the_improvement_of_larger_students_after_the_rung() -> None:
    """The error of a student of size k falls by 0.1 k after the rung: a larger student catches up by 0.1 a size."""
    rule = dominance.Dominance(num_judged=10**9, confidence=0.5, startup=0)
    for size in (1.0, 2.0, 3.0, 4.0):
        rule.finished(np.array([size]), {1: 0.5 + 0.01 * size}, 0.5 + 0.01 * size - 0.1 * size)
    gains = sorted(0.1 * (b - a) for a in range(1, 5) for b in range(a + 1, 5))
    assert rule.margin(1, 0.5) == pytest.approx(np.quantile(gains, 0.5, method="inverted_cdf"), abs=2 / dominance.BINS)


def test_a_difference_within_the_noise_stops_no_student() -> None:
    rule = dominance.Dominance(num_judged=50, startup=0)
    rule.finished(np.array([9.0]), {1: 0.5}, 0.5)
    assert rule.margin(1, 0.5) == pytest.approx(math.sqrt(2 * 0.25 / 50))
    assert not rule.stops(1, np.array([1.0]), 0.4)
    assert not rule.stops(1, np.array([1.0]), 0.49), "0.09 is less than the 0.1 of two errors over 50 examples"
    assert rule.stops(1, np.array([1.0]), 0.55)


def test_halving_keeps_a_third_by_true_rank() -> None:
    """The order of the rows is a permutation that is not its own inverse: ranks and positions select different rows."""
    errors = [0.3, 0.1, 0.5, 0.2, 0.4, 0.6]
    stops = decided(mo_asha.Halving(factor=3), [((1.0, 1.0), error) for error in errors])
    assert stops == [False, False, False, False, True, True]


def test_the_students_of_one_front_with_the_largest_crowding_distance_continue() -> None:
    rows = np.array([[0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [1.0, 0.0]])
    assert mo_asha.crowding_distance(rows).tolist() == pytest.approx([math.inf, 0.4, 1.8, math.inf])
    assert mo_asha.crowding_distance(np.ones((3, 2)))[1] == 0, "equal rows have no distance"


@pytest.mark.slow
@pytest.mark.parametrize("num_sizes", [1, 2])
@pytest.mark.parametrize("falling", [False, True])
def test_ranking_the_leaders_alone_gives_the_decisions_of_ranking_all(num_sizes: int, falling: bool) -> None:
    """Half of the rows are equal to others; where errors fall, every newcomer pushes back those before it."""
    rng = np.random.default_rng(num_sizes)
    rows = rng.integers(0, 25, (600, num_sizes + 1)) / 25
    rows[:, -1] -= falling * np.arange(600) / 100
    rule, factor = mo_asha.Halving(factor=3), 3
    for count in range(1, len(rows) + 1):
        seen = rows[:count]
        ranks = pareto.rank(seen)
        crowding = mo_asha.crowding_distance(seen[ranks == ranks[-1]])
        place = (ranks < ranks[-1]).sum() + (crowding[:-1] > crowding[-1]).sum()
        stops = count > factor and place >= math.ceil(count / factor)
        assert rule.stops(1, seen[-1, :-1], float(seen[-1, -1])) == stops, count
