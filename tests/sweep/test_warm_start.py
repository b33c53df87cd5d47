"""The students and results that a new sweep reuses from an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL_SPEC
from tutelage.errors import InputError
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.spec import loading
from tutelage.spec.distributions import parse
from tutelage.spec.space import Space
from tutelage.sweep import warm_start
from tutelage.training.context import TrainingContext

Make = Callable[..., TrialRecord]
SPACE = Space(parse({"width": {"int": [2, 8]}, "kind": {"choice": ["a", "b"]}}))
OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e4))
PARAMS: dict[str, Any] = {"student.model": "mlp", "student.model.mlp.hidden": 16, "distillation.temperature": 2.0,
                          "distillation.weight": 0.5, "sparsity.amount": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"width": 2, "kind": "a"}, True), ({"width": 8, "kind": "b"}, True), ({"width": 9, "kind": "a"}, False),
        ({"width": 1, "kind": "a"}, False), ({"width": 4, "kind": "c"}, False), ({"width": 4}, False),
        ({"width": 4, "kind": "a", "more": 1}, False), ({"width": "4", "kind": "a"}, False),
    ],
)  # fmt: skip
def test_a_student_belongs_to_a_space_that_can_suggest_its_values(params: dict[str, Any], expected: bool) -> None:
    assert warm_start.has_params(SPACE, params) is expected
    assert warm_start.nearest_params(SPACE, params) == (params if expected else None)


GRID = Space(parse({"width": {"int": [10, 64], "step": 8}, "share": {"float": [0.0, 1.0], "step": 0.4}}))


@pytest.mark.parametrize(
    ("width", "share", "nearest"),
    [
        (10, 0.4, (10, 0.4)), (58.0, 0.8, (58, 0.8)), (10, 0.1 + 0.3, (10, 0.4)), (17, 0.5, (18, 0.4)),
        (64, 1.0, (58, 0.8)), (66, 0.0, None), (9, 0.0, None), (10, 1.3, None), (10, -0.1, None), (True, 0.0, None),
    ],
)  # fmt: skip
def test_an_earlier_students_values_are_rounded_to_the_grid(
    width: Any, share: float, nearest: tuple[int, float] | None
) -> None:
    """It is suggested again with the nearest values; its result is learned from only where its values are on the grid."""
    params = {"width": width, "share": share}
    found = warm_start.nearest_params(GRID, params)
    assert (found and (found["width"], found["share"])) == nearest
    assert warm_start.has_params(GRID, params) == (nearest is not None and nearest == pytest.approx((width, share)))


def earlier(tmp_path: Path, make_record: Make, fingerprint: str) -> None:
    """Write a sweep of three finished students, one of which is dominated, and one that failed."""
    home = sweeps.create(tmp_path, "earlier", "")
    home.update(fingerprint=fingerprint, objectives=[one.document() for one in OBJECTIVES])
    for number, (accuracy, params) in enumerate([(0.9, 500.0), (0.8, 600.0), (0.7, 100.0)]):
        own = {**PARAMS, "student.model.mlp.hidden": 16 + number}
        home.ledger.append(replace(make_record(number, accuracy=accuracy, params=params), params=own, identity=f"id{number}"))
        home.student_path(f"t{number:04d}").mkdir(parents=True)
    home.ledger.append(replace(make_record(3, "failed", "no"), params=PARAMS, identity="id3"))


def read(tmp_path: Path, context: TrainingContext) -> warm_start.WarmStart:
    spec = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path), "search": {"trials": 8, "warm_start": ["earlier"]}})
    return warm_start.read(spec, sweeps.create(tmp_path, "now", ""), context)


def test_the_earlier_front_is_suggested_first_and_all_results_are_learned_from(
    tmp_path: Path, context: TrainingContext, make_record: Make
) -> None:
    earlier(tmp_path, make_record, context.fingerprint)
    found = read(tmp_path, context)
    assert [one.params["student.model.mlp.hidden"] for one in found.seeded] == [16, 18]
    assert [record.number for record in found.ends] == [0, 1, 2]
    assert set(found.trained) == {"id0", "id1", "id2"}


def test_results_on_other_data_are_not_learned_from(tmp_path: Path, context: TrainingContext, make_record: Make) -> None:
    earlier(tmp_path, make_record, "of other data")
    found = read(tmp_path, context)
    assert found.ends == [] and len(found.seeded) == 2, "good settings are tried all the same"


def test_an_earlier_student_is_reused_with_its_network(tmp_path: Path, context: TrainingContext, make_record: Make) -> None:
    earlier(tmp_path, make_record, context.fingerprint)
    found = read(tmp_path, context)
    suggestion = Suggestion(number=5, config={}, params=PARAMS, identity="id2")
    record = found.recall(suggestion)
    assert record is not None and (record.number, record.measures["accuracy"]) == (5, 0.7)
    assert record.origin == "recalled from earlier/t0002"
    assert found.home.student_path("t0005").is_dir()
    assert found.recall(replace(suggestion, identity="unknown")) is None


def test_a_warm_start_from_a_sweep_without_finished_students_is_an_error(tmp_path: Path) -> None:
    sweeps.create(tmp_path, "earlier", "").update(state="failed")
    with pytest.raises(InputError, match="no student of sweep 'earlier' has finished"):
        warm_start.find(tmp_path, "earlier")
