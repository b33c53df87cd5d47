"""The contract of every measure: those of the family, and those of every task."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tutelage import plugins
from tutelage.measure import Measure

OURS = [plugins.measure(name) for name in plugins.names("measures")]
OF_TASKS = [
    measure
    for name in plugins.names("tasks")
    for _, plugin, config in [plugins.configure("tasks", name)]
    for measure in plugin.build(config).measures
]
every = pytest.mark.parametrize("measure", [*OURS, *OF_TASKS], ids=lambda measure: measure.name)


def values(measure: Measure) -> list[float]:
    """Return possible values from the worst to the best."""
    low = 0.0 if measure.low is None else measure.low
    high = low + 1e6 if measure.high is None else measure.high
    rising = np.linspace(low, high, 50).tolist()
    return rising if measure.direction == "maximise" else rising[::-1]


@pytest.mark.parametrize("name", plugins.names("measures"))
def test_a_measure_has_the_name_of_its_file(name: str) -> None:
    assert plugins.measure(name).name == name


def test_names_and_keys_of_measures_are_unique() -> None:
    different = {json.dumps(measure.document(), sort_keys=True): measure for measure in [*OURS, *OF_TASKS]}.values()
    assert len({measure.name for measure in different}) == len({measure.mlflow_key for measure in different}) == len(different)


@every
def test_a_measure_has_a_label_and_a_meaning(measure: Measure) -> None:
    assert measure.name.isidentifier() and measure.name == measure.name.lower()
    assert measure.label and measure.unit and measure.meaning and not measure.meaning.endswith(".")
    assert measure.mlflow_key.count("/") == 1
    assert "nan" not in measure.text_with_unit(values(measure)[0]) + measure.difference_text(0.5)


@every
def test_an_even_loss_falls_wherever_the_value_gets_better(measure: Measure) -> None:
    losses = [measure.even_loss(value) for value in values(measure)]
    errors = [measure.error(value) for value in values(measure)]
    assert all(map(math.isfinite, losses)), losses
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]
    assert errors == sorted(errors, reverse=True)


@every
def test_a_measure_with_an_interval_aggregates_contributions(measure: Measure) -> None:
    if measure.spread in ("share", "mean"):  # a corpus measure knows what its task contributes: see `test_tasks.py`
        assert math.isfinite(measure.aggregate(np.array([[0.0], [1.0], [1.0]])))


@every
def test_a_measure_round_trips_through_its_document(measure: Measure) -> None:
    assert Measure.from_document(json.loads(json.dumps(measure.document()))) == measure
