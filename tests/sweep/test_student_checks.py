"""Checks of users' networks at the start of a sweep: working networks are accepted, all others are an error with the reason."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import SMALL_SPEC
from tutelage.errors import InputError
from tutelage.spec import loading
from tutelage.spec.search_sections import LatencyConfig
from tutelage.spec.spec import Spec
from tutelage.sweep.student_checks import buildable, check_latency, check_sparsity, check_students
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow

WORKING = ["Base", "Unsaved", "ReadsNumbers", "Tied", "Lazy", "Named", "Recurrent", "Encoder", "Staged", "Loud"]
REFUSED = {
    "RandomConstant": r"layer 'body' \(Linear\) has other outputs after.*does not save noise",
    "UnsavedStatistic": r"layer 'body' \(Linear\) has other outputs after.*does not save mean",
    "DifferentEachTime": r"same seed gives other initial values of body\.weight",
    "AlwaysDropping": r"other outputs for the same inputs in evaluation mode",
    "Squeezed": r"shape \(10,\) for a batch of 1; it must have \(1, 10\)",
    "WithinBatch": r"change with the other examples of its batch",
    "ReturnsDataclass": r"returns a Result; it must return the logits as a tensor",
    "ReturnsOtherName": r"returns a dict with logits \(Tensor\), hidden \(NoneType\)",
    "ReturnsPair": r"returns a tuple of Tensor, Tensor",
    "WrongShape": r"layer 'head' \(Linear\): RuntimeError",
    "FailsInTraining": r"cannot be trained: ZeroDivisionError: this network cannot be trained \(odd_networks\.py, line \d+\)",
    "Frozen": r"no weights to train|cannot be trained",
    "BranchesOnNumbers": r"cannot be exported",
    "Exits": r"does not run: layer|does not run: SystemExit: 3",
    "Double": r"type torch\.float64; it must have torch\.float32",
    "Parameterless": r"has no parameters",
    "not_a_module": r"is a str, not a torch\.nn\.Module",
    "Probabilities": r"the output 'class' gives probabilities",
    "InPlace": r"changes its inputs in place",
    "scripted": r"is a RecursiveScriptModule: a compiled, scripted or wrapped network",
    "compiled": r"is a OptimizedModule: a compiled, scripted or wrapped network",
    "asserts": r"cannot be built: AssertionError \(odd_networks\.py",
}


def spec_of(model: Any, **changes: Any) -> Spec:
    student = {"model": model, "epochs": 2}
    return loading.from_dict({**SMALL_SPEC, "student": student, "distillation": {}, "sparsity": {"amount": 0.0}, **changes})


def own(name: str) -> str:
    return f"tests.odd_networks:{name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_a_working_network_is_accepted(name: str, context: TrainingContext, capsys: pytest.CaptureFixture[str]) -> None:
    check_students(spec_of(own(name)), context)
    assert capsys.readouterr().out == "" and "TUTELAGE_LOUD" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_would_fail_later_is_an_error_with_the_reason(name: str, context: TrainingContext) -> None:
    with pytest.raises(InputError, match=f"^model 'tests.odd_networks:{name}'.*{REFUSED[name]}") as caught:
        check_students(spec_of(own(name)), context)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_users_own_teacher_is_checked_too(context: TrainingContext) -> None:
    with pytest.raises(InputError, match=r"odd_networks:RandomConstant.*does not save noise"):
        check_students(spec_of("mlp", teacher={"model": own("RandomConstant")}), context)


@pytest.mark.slow
@pytest.mark.parametrize("amount", [0.5, {"choice": [0.0, 0.5]}])
def test_sparsity_that_fits_no_student_is_an_error_unless_some_students_are_dense(
    amount: Any, context: TrainingContext
) -> None:
    spec = spec_of(own("Reshaped"), sparsity={"amount": amount})
    if amount == 0.5:
        with pytest.raises(InputError, match="channels cannot be removed"):
            check_students(spec, context)
    else:
        check_students(spec, context)


BY_SENSITIVITY = {"allocation": "sensitivity"}


@pytest.mark.parametrize(
    ("model", "sparsity", "why"),
    [
        ("convnet", {"amount": 0.5, "method": "units"}, "model 'convnet': sparsity.method units: .* it has no LSTM"),
        pytest.param("convnet", {"amount": 0.5, "method": {"units": BY_SENSITIVITY}},
                     "sparsity.method units: .* it has no LSTM", marks=pytest.mark.slow),
        ("mlp", {"amount": {"float": [0.1, 0.5]}, "method": "heads"}, "sparsity.method heads: .* it has no attention"),
        ("mlp", {"amount": {"float": [0, 0.5]}, "method": "heads"}, None),
        pytest.param("mlp", {"amount": 0.75, "method": {"heads": BY_SENSITIVITY}, "ladder": {"rungs": 1, "recovery_epochs": 1}},
                     "sparsity.method heads: .* it has no attention", marks=pytest.mark.slow),
        ("tests.odd_networks:Base", {"amount": 0.1, "method": {"n_m": {"m": 3}}}, "method n_m: no layer has .* 3 divides"),
        ({"choice": ["convnet", "vit"]}, {"amount": {"float": [0.1, 0.5]}, "method": {"choice": ["channels", "heads"]}}, None),
        ("convnet", {"amount": 0.0, "method": "units"}, None),
        ("convnet", {"amount": 0.01, "method": "channels"}, None),
    ],
)  # fmt: skip
def test_a_sparsity_method_that_can_make_no_student_smaller_is_an_error_before_anything_is_trained(
    model: Any, sparsity: dict[str, Any], why: str | None, context: TrainingContext
) -> None:
    """A method that fits only some of the students is accepted, and so is a search with dense ones."""
    with pytest.raises(InputError, match=why) if why else nullcontext():
        check_sparsity(spec_of(model, sparsity=sparsity, student={"model": model, "epochs": 4}), context)


def test_values_of_a_range_from_which_no_network_can_be_built_are_skipped(context: TrainingContext) -> None:
    """The heads divide neither end of the range, but a value between them."""
    widths = {own("Encoder"): {"width": {"int": [30, 50], "step": 2}, "heads": 4}}
    (found,) = buildable(spec_of(widths), context)
    assert found.config.student.model[own("Encoder")]["width"] % 4 == 0  # type: ignore[index]
    with pytest.raises(InputError, match=r"vit.*3 heads do not divide a width of 32"):
        check_students(spec_of({"vit": {"width": 32, "heads": 3}}), context)


@pytest.mark.slow  # a process is started
@pytest.mark.parametrize(
    ("printed", "why"),
    [("1.5 2.0", None), ("warming up", r"Its last line must be two positive numbers.*tried with an untrained student")],
)
def test_a_command_that_gives_no_latency_is_an_error_before_anything_is_trained(
    printed: str, why: str | None, context: TrainingContext
) -> None:
    """Otherwise every student would fail after its last epoch."""
    config = LatencyConfig(command=[sys.executable, "-c", f"print({printed!r})"])
    room = replace(context, latency=config)
    with pytest.raises(InputError, match=why) if why else nullcontext():
        check_latency(spec_of("mlp"), room)
