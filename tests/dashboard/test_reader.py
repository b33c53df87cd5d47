"""What is read of a candidate, from a client of MLflow that is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from tutelage.dashboard.answers import RequestFailed
from tutelage.dashboard.from_runs import _parsed
from tutelage.dashboard.reader import Reader


def run(*metrics: str) -> Any:
    data, info = SimpleNamespace(metrics=dict.fromkeys(metrics, 1.0)), SimpleNamespace(run_id="r")
    return SimpleNamespace(data=data, info=info)


def reader(history: Any) -> Reader:
    client: Any = SimpleNamespace(get_metric_history=history)
    return Reader(client, lambda run_id, path: None)


def test_a_curve_has_no_epoch_whose_value_json_lacks() -> None:
    values = (0.5, float("nan"), float("inf"), 0.25)
    rows = [SimpleNamespace(step=step, value=value) for step, value in enumerate(values)]
    assert reader(lambda run_id, key: rows).curves(run("train/loss")) == {"loss": [(0, 0.5), (3, 0.25)]}


@pytest.mark.parametrize("metric", ["train/loss", "loss"])
def test_an_mlflow_that_is_away_is_an_error_for_curves_of_others_too(metric: str) -> None:
    def away(run_id: str, key: str) -> Any:
        raise MlflowException("connection refused")

    with pytest.raises(RequestFailed) as caught:
        reader(away).curves(run(metric))
    assert caught.value.status == 503


def test_a_long_whole_number_of_a_param_keeps_its_digits() -> None:
    assert _parsed("9223372036854775807") == 9223372036854775807
