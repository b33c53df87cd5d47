"""The first difference between what a network takes and gives and what the data has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.plain import plain_signature
from tutelage.errors import InputError
from tutelage.export.fit import check_fits, mismatch
from tutelage.signature import InputSpec, OutputSpec, Signature

DATA = plain_signature()


def with_input(**changes: object) -> Signature:
    return replace(DATA, inputs=(replace(DATA.inputs[0], **changes),))  # type: ignore[arg-type]


def with_output(**changes: object) -> Signature:
    return replace(DATA, outputs=(replace(DATA.outputs[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "difference"),
    [
        (DATA, None),
        (with_input(name="pixels"), None),
        (with_output(names=("",) * 10), None),
        (with_input(shape=(3, 8, 8)), "takes examples of shape (3, 8, 8), the data has (1, 8, 8)"),
        (with_input(dtype="int64"), "takes examples as int64, the data has float32"),
        (with_output(names=tuple("01234")), "gives 5 classes, the data has 10"),
        (
            with_output(names=tuple("1023456789")),
            "has other classes than the data, or another order: '1' stands where the data has '0'",
        ),
    ],
)
def test_the_first_difference_is_named(own: Signature, difference: str | None) -> None:
    assert mismatch(own, DATA) == difference


def test_several_inputs_are_compared_by_name_and_vocabularies_where_both_have_one() -> None:
    tokens = InputSpec(name="tokens", kind="tokens", dtype="int64", shape=("n",), names=("a", "b"))
    output = OutputSpec(name="slots", names=("x", "y"), steps="tokens")
    text = Signature(inputs=(tokens,), outputs=(output,))
    other = replace(text, inputs=(replace(tokens, names=("a", "c")),))
    assert "another vocabulary than the data's: 'b' stands where the data has 'c'" in str(mismatch(text, other))
    assert mismatch(text, replace(text, inputs=(replace(tokens, names=()),))) is None
    two = replace(text, inputs=(tokens, replace(tokens, name="more")))
    assert mismatch(two, text) == "takes the inputs tokens, more, the data has tokens"
    once = replace(text, outputs=(replace(output, steps=None),))
    assert mismatch(text, once) == "gives a step for each position, the task needs one step an example"


def test_a_model_that_does_not_fit_is_an_error_with_both_sides() -> None:
    check_fits("m", DATA, DATA)
    with pytest.raises(InputError, match=r"m gives 5 classes, the data has 10\. Use the data that it was trained for"):
        check_fits("m", with_output(names=tuple("01234")), DATA)
