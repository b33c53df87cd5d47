from __future__ import annotations

import pytest

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.measure import Measure, log10, neg_log10_error

CER = Measure(name="cer", label="character error rate", unit="errors a character", direction="minimise", meaning="edits")


def test_a_loss_and_an_error_are_lower_where_a_value_is_better() -> None:
    accuracy = plugins.measure("accuracy")
    assert accuracy.is_better(0.9, 0.8) and not accuracy.is_better(0.8, 0.8)
    assert CER.is_better(1.7, 1.8)
    assert accuracy.error(0.75) == 0.25 and CER.error(1.7) == 1.7
    assert accuracy.even_loss(0.9) == -neg_log10_error(0.9)


def test_differences_of_shares_are_points_and_others_have_their_unit() -> None:
    assert plugins.measure("accuracy").difference_text(-0.0123) == "-1.23 points"
    assert CER.difference_text(0.5) == "+0.5000 errors a character"


def test_sizes_may_be_nothing_on_a_logarithmic_scale() -> None:
    assert log10(0.0) == log10(1e-3) == -3


def test_a_measure_with_a_function_without_a_name_cannot_be_written() -> None:
    measure = Measure(name="x", label="x", unit="x", direction="minimise", meaning="x", scale=lambda value: value)
    with pytest.raises(InputError, match="Define it in the module"):
        measure.document()


def test_a_users_own_measure_is_named_by_its_module(user_module: object) -> None:
    write = user_module
    assert callable(write)
    write(
        "my_measures",
        "from tutelage.measure import Measure\n"
        'CER = Measure(name="cer", label="cer", unit="share", direction="minimise", meaning="edits a character")\nBAD = 3\n',
    )
    assert plugins.measure("my_measures:CER").direction == "minimise"
    assert plugins.summary("measures", "my_measures:CER") == "edits a character"
    with pytest.raises(InputError, match=r"is a int, not a tutelage\.measure\.Measure"):
        plugins.measure("my_measures:BAD")
