"""Truths of the tests of non-inferiority: sizes by enumeration, statistics by maximised likelihood, margins by closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial

from tutelage import non_inferiority, plugins
from tutelage.measure import Measure, mean
from tutelage.non_inferiority import _statistic, compare, exact_p_value, least_margin, num_certified

ACCURACY = plugins.measure("accuracy")
ERROR = Measure(
    name="edit_rate", label="edits", unit="", direction="minimise", meaning="edits a label", low=0.0, reference=2.0,
    available="each_epoch", spread="mean", aggregate=mean,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("n", "margin"), [(12, 0.1), (16, 0.05), (14, 0.3)])
def test_a_drop_as_large_as_the_margin_is_rarely_certified(n: int, margin: float) -> None:
    outcomes = [(lost, won) for lost in range(n + 1) for won in range(n + 1 - lost)]
    certified = np.array([exact_p_value(lost, won, n, margin) <= 0.05 for lost, won in outcomes])
    assert certified.any()
    for won_rate in np.linspace(0.0, (1 - margin) / 2, 25):
        rates = [won_rate + margin, won_rate, 1 - margin - 2 * won_rate]
        chances = [multinomial.pmf([lost, won, n - lost - won], n, rates) for lost, won in outcomes]
        assert float(np.array(chances)[certified].sum()) <= 0.05 + 1e-6, won_rate


@given(st.integers(5, 60), st.data())
def test_the_statistic_is_that_of_the_most_likely_rates_with_this_drop(n: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, n))
    won, margin = data.draw(st.integers(0, n - lost)), data.draw(st.floats(0.01, 0.5))

    def loss(won_rate: float) -> float:
        rates = np.array([won_rate + margin, won_rate, 1 - margin - 2 * won_rate])
        counts = np.array([lost, won, n - lost - won])
        return -float((counts[counts > 0] * np.log(np.maximum(rates[counts > 0], 1e-300))).sum())

    best = minimize_scalar(loss, bounds=(0.0, (1 - margin) / 2), method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * best + margin * (1 - margin))
    (found,) = _statistic(np.array([lost]), np.array([won]), n, margin)
    assert found == pytest.approx((lost - won - n * margin) / math.sqrt(variance), abs=1e-3)


@settings(max_examples=12)
@given(st.integers(1, 40), st.data())
def test_what_a_margin_certifies_a_larger_one_and_more_examples_won_certify_too(n: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, n))
    won = data.draw(st.integers(0, n - lost))
    p_values = [exact_p_value(lost, won, n, margin) for margin in (0.02, 0.1, 0.3, 1.0)]
    assert all(later <= 0.05 for earlier, later in pairwise(p_values) if earlier <= 0.05), p_values
    if lost and won + lost < n:
        assert exact_p_value(lost - 1, won + 1, n, 0.1) <= p_values[1] + 1e-9


def test_no_disagreement_follows_the_rule_of_three() -> None:
    assert exact_p_value(0, 0, 300, 0.01) == pytest.approx(0.99**300 + 1e-4, rel=1e-6)
    assert least_margin(300, 0.0) == pytest.approx(1 - 0.0499 ** (1 / 300), rel=1e-3)


def test_equal_shares_of_errors_certify_no_margin_of_zero() -> None:
    assert exact_p_value(8, 8, 100, 0.0) > 0.45
    assert exact_p_value(0, 12, 100, 0.0) < 0.001


@pytest.mark.parametrize(
    ("n", "disagreement", "normal"), [(1_000, 0.04, 0.0104), (1_000, 0.15, 0.0201), (10_000, 0.04, 0.0033)]
)
def test_the_least_margin_nears_that_of_the_normal_approximation(n: int, disagreement: float, normal: float) -> None:
    assert normal - 1e-4 < least_margin(n, disagreement) < 1.05 * normal


def test_shares_are_compared_example_by_example_in_the_direction_of_the_measure() -> None:
    reference, candidate = np.ones((200, 1)), np.ones((200, 1))
    candidate[:6], reference[6:8] = 0.0, 0.0
    found = compare(ACCURACY, reference, candidate, margin=0.08)
    assert (found.n, found.lost, found.won) == (200, 6, 2) and found.drop == pytest.approx(0.02)
    assert found.p_value == exact_p_value(6, 2, 200, 0.08) < 0.05 < exact_p_value(6, 2, 200, 0.02)
    back = compare(ACCURACY, candidate, reference, margin=0.0)
    assert (back.lost, back.won) == (2, 6) and back.drop == pytest.approx(-0.02)


def test_a_lower_better_mean_drops_where_it_grows() -> None:
    generator = np.random.default_rng(0)
    reference = generator.gamma(1.0, 0.4, size=(400, 1))
    worse = reference + generator.normal(0.02, 0.05, size=(400, 1))
    found = compare(ERROR, reference, worse, margin=0.03)
    assert found.drop == pytest.approx(float((worse - reference).mean())) and found.lost is None
    assert found.p_value < 0.01 < 0.5 < compare(ERROR, reference, worse, margin=0.01).p_value
    assert compare(ERROR, worse, reference, margin=0.0).p_value < 0.01
    assert compare(ERROR, reference, worse, margin=0.03) == found, "the bootstrap is seeded"


@pytest.mark.slow
def test_a_mean_that_drops_by_the_margin_passes_about_one_time_in_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(non_inferiority, "RESAMPLES", 200)
    generator = np.random.default_rng(1)
    passed = 0
    for run in range(200):
        reference = generator.gamma(1.0, 0.4, size=(100, 1))
        worse = reference + generator.normal(0.02, 0.1, size=(100, 1))
        passed += compare(ERROR, reference, worse, margin=0.02, seed=run).p_value <= 0.05
    assert 1 <= passed <= 24  # 5 % of 200 is 10


def test_tests_in_a_fixed_order_end_at_the_first_that_fails() -> None:
    assert num_certified([0.001, 0.05, 0.0501, 0.001]) == 2
    assert num_certified([0.2, 0.001]) == 0 and num_certified([]) == 0
    assert num_certified([0.08, 0.2], confidence=0.9) == 1
