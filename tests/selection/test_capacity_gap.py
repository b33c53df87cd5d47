from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tutelage import plugins
from tutelage.records import sweeps
from tutelage.records.trial import TrialRecord
from tutelage.selection import capacity_gap


def sweep(storage: Path, name: str, teacher_params: int, records: list[TrialRecord], data: str = "d") -> Any:
    home = sweeps.create(storage, name, "")
    home.update(fingerprint=data, teacher={"params": teacher_params, "accuracy": 0.95})
    for record in records:
        home.ledger.append(record)
    return home


@pytest.mark.parametrize(
    ("teacher_params", "accuracy", "params", "data", "state", "is_told"),
    [
        (5_000, 0.90, 900, "d", "finished", True),
        (5_000, 0.90, 1_000, "d", "finished", True),
        (5_000, 0.90, 1_001, "d", "finished", False),  # a larger student
        (10_000, 0.90, 900, "d", "finished", False),  # no smaller teacher
        (5_000, 0.815, 900, "d", "finished", False),  # noise: two standard errors are 0.036 on 1,000 examples
        (5_000, 0.90, 900, "e", "finished", False),  # other data
        (5_000, 0.90, 900, "d", "stopped", False),
    ],
)
def test_a_smaller_teacher_with_better_students_is_reported(
    tmp_path: Path, make_record: Callable[..., TrialRecord], teacher_params: int, accuracy: float, params: int, data: str,
    state: str, is_told: bool,
) -> None:  # fmt: skip
    own = make_record(0, accuracy=0.80, params=1000.0)
    home = sweep(tmp_path, "large", 10_000, [own])
    sweep(tmp_path, "small", teacher_params, [make_record(3, state, accuracy=accuracy, params=float(params))], data)
    (tmp_path / "sweeps" / "stray").mkdir()
    said = capacity_gap.found(home, own, plugins.measure("accuracy"), 1000)
    assert (said is not None) is is_told
    if said:
        assert "sweep 'small'" in said and "of 5,000 parameters, gave t0003" in said and "0.9000" in said


def test_students_of_other_epochs_are_not_compared(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> None:
    own, other = make_record(0, accuracy=0.80, params=1000.0), make_record(3, accuracy=0.90, params=900.0)
    home = sweep(tmp_path, "large", 10_000, [own])
    sweep(tmp_path, "small", 5_000, [replace(other, config={"student": {"model": "mlp", "epochs": 9}})])
    assert capacity_gap.found(home, own, plugins.measure("accuracy"), 1000) is None
