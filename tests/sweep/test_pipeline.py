"""The steps of a sweep that need no cluster: which teacher and student they name, which reference points they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage import plugins
from tutelage.errors import NoStudentFits, WorkFailed
from tutelage.objectives import Limits, objective
from tutelage.records.trial import TrialRecord
from tutelage.sweep import pipeline
from tutelage.sweep.teacher_store import Teacher

Make = Callable[..., TrialRecord]
ACCURACY = plugins.measure("accuracy")


def teacher(value: float) -> Teacher:
    return Teacher(directory=Path(), address="t", measures={"accuracy": value})


@pytest.mark.parametrize(("direction", "best"), [("maximise", "0.9000"), ("minimise", "0.7000")])
def test_the_better_of_two_teachers_is_found_in_either_direction(direction: str, best: str) -> None:
    measure = replace(ACCURACY, direction=direction)  # type: ignore[arg-type]
    text = pipeline._ensemble_text(measure, teacher(0.8), [teacher(0.9), teacher(0.7)])
    assert text.endswith(f"; the best of them has {best}")
    assert "the best of them" not in pipeline._ensemble_text(ACCURACY, teacher(0.95), [teacher(0.9), teacher(0.7)])


def test_a_reference_of_the_spec_is_retained() -> None:
    given = (objective("accuracy"), replace(objective("params"), reference=5.0), objective("macs"))
    found = pipeline.with_references(given, {"accuracy": 0.9, "params": 100.0, "macs": 7.0})
    assert [one.reference for one in found] == [0.0, 5.0, 7.0]


def test_the_error_of_a_search_without_a_front_names_the_nearest_student(make_record: Make) -> None:
    limits = Limits(max={"params": 100.0})
    records = [
        make_record(0, params=900.0), make_record(1, params=110.0), make_record(2, params=110.0), make_record(3, "failed"),
    ]  # fmt: skip
    with pytest.raises(NoStudentFits, match=r"none of the 4 students meets params ≤ 100. The nearest, t0001, has params 110"):
        pipeline.require_students(records, limits, 0)
    pipeline.require_students(records, limits, 1)
    with pytest.raises(WorkFailed, match="none of 1 students could be trained: ValueError: no"):
        pipeline.require_students([make_record(0, "failed", "Traceback\nValueError: no")], limits, 0)
    with pytest.raises(WorkFailed, match="the time limit was reached"):
        pipeline.require_students([], limits, 0)
