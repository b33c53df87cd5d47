"""What a selection's document says of fresh seeds and baselines, in either direction of the measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.stored_sweep import TEACHER, spec_tree
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.objectives import Limits, objective
from tutelage.records import sweeps
from tutelage.records.trial import TrialRecord
from tutelage.selection import picking, select
from tutelage.selection.query import SelectionQuery
from tutelage.spec.loading import from_dict
from tutelage.training.context import context_of

ACCURACY = plugins.measure("accuracy")
ERROR = replace(ACCURACY, name="error", direction="minimise")


def test_a_gain_is_positive_where_teaching_makes_better_students() -> None:
    baselines = select._Baselines(value=0.9, fresh=[0.90, 0.92], distilled=[0.93, 0.93])
    assert select._confirmed(ACCURACY, None, baselines)["gain"]["mean"] == pytest.approx(0.02)
    assert select._confirmed(ERROR, None, baselines)["gain"]["mean"] == pytest.approx(-0.02)


def test_gains_are_of_pairs_with_the_same_seed() -> None:
    """Both vary by 0.1 from seed to seed, and the gain does not."""
    found = select._confirmed(ACCURACY, None, select._Baselines(value=None, fresh=[0.8, 0.7], distilled=[0.82, 0.72]))
    assert found["gain"]["sd"] == pytest.approx(0.0, abs=1e-12) and found["label_only"]["sd"] > 0.05
    assert found["seeds"] == 2


@pytest.mark.parametrize(("measure", "side"), [(ACCURACY, "lower"), (ERROR, "upper")])
def test_a_choice_rests_on_the_bound_of_the_worse_side(measure: object, side: str) -> None:
    assert picking._quality(measure, 3).startswith(f"{side} 95 % confidence bound")  # type: ignore[arg-type]
    assert picking._quality(measure, 1) == "accuracy with 1 fresh seed"  # type: ignore[arg-type]


def test_latency_is_measured_for_students_that_fit_but_for_it(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> None:
    home = sweeps.create(tmp_path, "stored", yaml.safe_dump(spec_tree(tmp_path)))
    objectives = (objective("accuracy"), replace(objective("params"), reference=9e4))
    home.update(objectives=[one.document() for one in objectives], teacher=TEACHER)
    measured = {"latency_ms": 1.0, "latency_p90_ms": 2.0}
    for record in (
        make_record(0, accuracy=0.9, params=100.0), make_record(1, accuracy=0.5, params=50.0),
        make_record(2, accuracy=0.8, params=80.0, **measured), make_record(3, "failed"),
    ):  # fmt: skip
        home.ledger.append(record)
    limits = Limits(max={"latency_ms": 3.0}, min={"accuracy": 0.7})
    query = SelectionQuery(policy="best-quality", objectives=objectives, primary=ACCURACY, limits=limits)
    assert select._unmeasured(home, query) == ["t0000"]
    assert select._unmeasured(home, replace(query, limits=Limits(min={"accuracy": 0.7}))) == []


def test_changed_data_are_an_error_before_anything_is_trained(tmp_path: Path) -> None:
    tree = spec_tree(tmp_path)
    home = sweeps.create(tmp_path, "stored", yaml.safe_dump(tree))
    spec = from_dict({**tree, "seed": 1})
    home.update(fingerprint=context_of(from_dict(tree)).fingerprint, knowledge={})
    with pytest.raises(
        InputError, match=r"the data of sweep 'stored' have changed: their fingerprint is .* would not be comparable"
    ):
        select.context_with_teacher(home, spec)
