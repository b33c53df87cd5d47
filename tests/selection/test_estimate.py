"""What fresh seeds show of students, put on record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.stored_sweep import spec_tree
from tutelage.records import sweeps
from tutelage.records.trial import TrialRecord
from tutelage.selection.estimate import put_on_record


def test_an_estimate_is_recorded_where_it_is_new(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> None:
    home = sweeps.create(tmp_path, "stored", yaml.safe_dump(spec_tree(tmp_path)))
    for number in range(2):
        home.ledger.append(make_record(number, accuracy=0.9))
    logged: list[str] = []
    tracker: Any = SimpleNamespace(log_measures=lambda trial, measures: logged.append(trial))
    put_on_record(home, tracker, {"t0001": [0.8, 0.9]}, 400)
    put_on_record(home, tracker, {"t0001": [0.8, 0.9]}, 400)
    assert logged == ["t0001"]
    first, second = home.records()
    assert "confirmed_mean" not in first.measures
    assert second.measures["accuracy"] == 0.9, "what the search saw stays"
    assert (second.measures["confirmed_mean"], second.measures["confirmed_seeds"]) == (pytest.approx(0.85), 2.0)
    assert second.measures["confirmed_low"] < 0.85 < second.measures["confirmed_high"]
    put_on_record(home, tracker, {"t0001": [0.8, 0.9, 0.7]}, 400)
    assert logged == ["t0001", "t0001"] and home.records()[1].measures["confirmed_seeds"] == 3.0
