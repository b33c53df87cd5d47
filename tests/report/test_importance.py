from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tutelage.objectives import objective
from tutelage.records.trial import TrialRecord
from tutelage.report import importance

OBJECTIVES = (objective("accuracy"), objective("params"))
Make = Callable[..., TrialRecord]


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    """Accuracy hangs on temperature alone, size on width and on the kind of network, nothing on the noise."""
    draw, made = np.random.default_rng(0), []
    for number in range(80):
        temperature, width, noise = draw.uniform(1, 20), int(draw.integers(4, 64)), draw.uniform()
        kind = ["mlp", "convnet"][int(draw.integers(2))]
        params = {"temperature": temperature, "width": width, "noise": noise, "model": kind, "fixed": 3}
        params |= {"depth": int(draw.integers(1, 4))} if kind == "convnet" else {}
        size = width * (10.0 if kind == "mlp" else 100.0)
        made.append(replace(make_record(number, accuracy=0.5 + temperature / 50, params=size), params=params))
    return made


@pytest.mark.slow
def test_the_parameter_that_explains_an_objective_is_first_and_noise_has_no_share(records: list[TrialRecord]) -> None:
    accuracy, size = importance.importances(records, OBJECTIVES)
    assert (accuracy.objective, accuracy.num_trials) == ("accuracy", 80)
    assert next(iter(accuracy.shares)) == "temperature" and accuracy.shares["temperature"] > 1
    assert all(share < 0.05 for name, share in accuracy.shares.items() if name != "temperature")
    assert set(list(size.shares)[:3]) >= {"model", "width"} and size.shares["noise"] < 0.05
    assert "fixed" not in size.shares, "what never changed explains nothing"
    assert accuracy.r2 > 0.9 and size.r2 > 0.8


@pytest.mark.slow
def test_the_same_trials_give_the_same_numbers(records: list[TrialRecord]) -> None:
    assert importance.importances(records[:30], OBJECTIVES) == importance.importances(records[:30], OBJECTIVES)


@pytest.mark.slow
def test_too_few_trials_or_pure_noise_show_nothing(records: list[TrialRecord]) -> None:
    assert importance.importances(records[: importance.MIN_TRIALS - 1], OBJECTIVES) == []
    assert importance.importances([replace(r, state="stopped") for r in records], OBJECTIVES) == []
    draw = np.random.default_rng(1)
    noise = [replace(r, measures={"accuracy": draw.uniform(), "params": 5.0}) for r in records]
    accuracy, constant = importance.importances(noise, OBJECTIVES)
    assert accuracy.shares == {} and accuracy.r2 < importance.MIN_R2
    assert constant.shares == {}
