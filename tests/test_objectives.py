from __future__ import annotations

from dataclasses import replace

import pytest

from tutelage.errors import InputError, WorkFailed
from tutelage.measure import neg_log10_error
from tutelage.objectives import Limits, even_reference, losses, objective, parse_quantity, reference_losses


def test_losses_turn_only_what_is_maximised() -> None:
    objectives = (objective("accuracy"), objective("params"))
    matrix = losses([{"accuracy": 0.9, "params": 10}, {"params": 20, "accuracy": 0.8}], objectives)
    assert matrix.tolist() == [[-0.9, 10.0], [-0.8, 20.0]]
    assert reference_losses((objective("accuracy"), replace(objective("params"), reference=99.0))).tolist() == [0.0, 99.0]
    assert losses([], objectives).shape == (0, 2)


def test_an_even_reference_has_accuracy_last_and_logarithms() -> None:
    objectives = (replace(objective("accuracy"), reference=0.9), replace(objective("params"), reference=1000.0))
    found = even_reference(objectives, "accuracy")
    assert found.tolist() == pytest.approx([3.0, -neg_log10_error(0.9)])
    assert even_reference(objectives[::-1], "accuracy").tolist() == found.tolist()


def test_an_error_on_a_measure_without_values_names_those_with_values() -> None:
    with pytest.raises(WorkFailed, match="they report accuracy, params"):
        losses([{"accuracy": 0.9, "params": 10}], (objective("latency_ms"),))
    with pytest.raises(InputError, match="Did you mean 'latency_ms'"):
        objective("latency")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200k", 200e3),
        ("20 kB", 20e3),
        ("1.5M", 1.5e6),
        ("0.9", 0.9),
        ("2G", 2e9),
        ("1e3", 1e3),
        (7, 7.0),
        ("3KiB", 3072.0),
        ("2 MiB", 2 * 1024**2),
        ("1Gi", 1024.0**3),
    ],
)
def test_quantities(text: str, value: float) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "big", "20 kilo", "k", "1,5", True, "nan", "1e999", "1e308k", "١٢k"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(InputError, match="not a quantity"):
        parse_quantity(text)


def test_limits_are_met_at_the_bound_and_missed_beyond_it() -> None:
    limits = Limits(max={"params": 100}, min={"accuracy": 0.9})
    assert limits.are_met({"params": 100, "accuracy": 0.9})
    assert not limits.are_met({"params": 101, "accuracy": 0.9})
    assert not limits.are_met({"params": 100})
    assert limits.violations({"params": 150}) == {"params": 50}
    assert limits.shortfall({"params": 150, "accuracy": 0.45}) == pytest.approx(0.5 + 0.5)
    assert limits.describe() == "params ≤ 100, accuracy ≥ 0.9"


def test_limits_without_some_measures_keep_the_others() -> None:
    limits = Limits(max={"params": 5.0, "latency_ms": 1.0}, min={"accuracy": 0.9})
    assert limits.without("latency_ms", "accuracy") == Limits(max={"params": 5.0})
    assert limits.without() == limits
