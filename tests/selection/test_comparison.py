"""What a selection says in words: every conclusion where it is supported, and none elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage import plugins
from tutelage.selection import comparison

ACCURACY, BITS = plugins.measure("accuracy"), plugins.measure("bits_per_character")


@pytest.mark.parametrize(
    ("gain", "fresh", "word"),
    [
        ((0.02, 0.01, 0.03), (0.005, 0.015), "Distillation helps"),
        ((0.02, 0.01, 0.03), (-0.005, 0.025), "Inconclusive"),
        ((0.01, -0.01, 0.03), (0.005, 0.015), "Inconclusive"),
        ((-0.02, -0.03, -0.01), (-0.02, -0.01), "Distillation hurts"),
        ((0.02, 0.01, 0.03), None, "Inconclusive"),
    ],
)
def test_a_conclusion_about_distillation_needs_the_test_split_and_fresh_seeds(
    gain: tuple[float, float, float], fresh: tuple[float, float] | None, word: str
) -> None:
    tested: dict[str, Any] = {"gain_over_label_only": dict(zip(("difference", "low", "high"), gain, strict=True))}
    confirmed = {"seeds": 3, "gain": {"mean": 0.01, "sd": 0.002, "interval": fresh}}
    assert comparison.of_distillation(ACCURACY, confirmed, tested).startswith(word)
    assert "+1.00 ± 0.20 points" in comparison.of_distillation(ACCURACY, confirmed, tested)
    once = comparison.of_distillation(ACCURACY, {"seeds": 1, "gain": {"mean": 0.01, "sd": None, "interval": None}}, tested)
    assert "+1.00 points on validation with one fresh seed" in once and "±" not in once
    alone = comparison.of_distillation(ACCURACY, {"seeds": 0, "gain": None}, tested)
    assert alone.startswith("Inconclusive")
    assert "no conclusion" in alone


@pytest.mark.parametrize(
    ("gain", "size_bytes", "is_better", "word"),
    [
        ((0.02, 0.005, 0.035), 2000, True, "better than the champion by more than noise"),
        ((0.02, -0.005, 0.045), 2000, False, "not better than the champion by more than noise"),
        ((0.0, -0.009, 0.009), 500, True, "smaller (500 bytes, the champion has 1,000)"),
        ((0.0, -0.011, 0.011), 500, False, "may be worse by 1.00 points or more"),
        ((0.0, -0.009, 0.009), 1000, False, "nor smaller"),
    ],
)
def test_a_champion_is_replaced_by_a_better_student_or_a_smaller_one_as_good(
    gain: tuple[float, float, float], size_bytes: float, is_better: bool, word: str
) -> None:
    found, why = comparison.of_promotion(
        ACCURACY,
        dict(zip(("difference", "low", "high"), gain, strict=True)),
        size_bytes,
        1000,
        0.01,
        "digits version 3 (a/t0001)",
    )
    assert found == is_better
    assert word in why and "digits version 3 (a/t0001)" in why


def test_regression_and_repeated_test_evaluations_are_reported() -> None:
    assert comparison.of_regression(ACCURACY, 0.98, None) is None
    told = comparison.of_regression(ACCURACY, 0.98, {"seeds": 3, "mean": 0.97, "interval": (0.95, 0.985)})
    assert (
        told and "-1.00 points against the 0.9800" in told and "Expected accuracy: 0.9500 to 0.9850 (95 % confidence)" in told
    )
    once = comparison.of_regression(ACCURACY, 0.98, {"seeds": 1, "mean": 0.97, "interval": None})
    assert once and "an interval needs two seeds or more" in once
    assert comparison.of_test({"evaluations": 3, "students": 1}) is None
    assert "evaluated 3 times, for 2 different students" in str(comparison.of_test({"evaluations": 3, "students": 2}))


def test_a_gain_in_a_measure_where_lower_is_better_is_called_one() -> None:
    gain = {"difference": -0.049, "low": -0.07, "high": -0.029}
    assert comparison.gain_text(BITS, gain) == "a gain of -0.0490 bits (-0.0700 to -0.0290)"
    assert comparison.gain_text(ACCURACY, gain) == "-4.90 points (-7.00 to -2.90)"
