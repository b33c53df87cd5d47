"""The JSON documents about a sweep: how far it is, and its front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.stored_sweep import TEACHER, spec_tree
from tutelage.objectives import objective
from tutelage.records import fronts, sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.report import json_views

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1000.0))


@pytest.fixture
def home(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> SweepDir:
    """A sweep of eight trials with three students on its front, the last of them too large for the reference point."""
    tree = spec_tree(tmp_path)
    found = sweeps.create(tmp_path, "stored", yaml.safe_dump({**tree, "search": {"trials": 8}}))
    found.update(state="running", objectives=[one.document() for one in OBJECTIVES], teacher=TEACHER)
    for number, (accuracy, params) in enumerate([(0.8, 500.0), (0.9, 2000.0), (0.5, 100.0), (0.7, 600.0)]):
        found.ledger.append(make_record(number, accuracy=accuracy, params=params))
    found.ledger.append(make_record(4, "infeasible", params=9e9))
    found.ledger.append(make_record(5, "failed", "no"))
    found.ledger.append(make_record(6, "running"))
    return found


def test_a_running_sweep_without_a_driver_is_interrupted(home: SweepDir) -> None:
    assert json_views.status(home)["state"] == "interrupted"
    with home.driven():
        assert json_views.status(home)["state"] == "running"
    home.update(state="finished")
    assert json_views.status(home)["state"] == "finished"


def test_trials_to_come_are_those_that_were_neither_trained_nor_started(home: SweepDir) -> None:
    """Of eight, four have finished and one runs; those that were rejected untrained do not count."""
    found = json_views.status(home)["trials"]
    assert found == {
        "finished": 4, "stopped": 0, "failed": 1, "infeasible": 1, "running": 1, "paused": 0, "to_come": 3,
    }  # fmt: skip
    home.update(state="finished")
    assert json_views.status(home)["trials"]["to_come"] == 0


def test_the_front_is_smallest_first_with_its_hypervolume(home: SweepDir) -> None:
    home.update(run_ids={"t0000": "abc"})
    found = json_views.front(home)
    assert [one["trial"] for one in found["students"]] == ["t0002", "t0000", "t0001"]
    assert [one["run_id"] for one in found["students"]] == [None, "abc", None]
    assert found["hypervolume"] == pytest.approx(0.8 * 500 + 0.5 * 400)
    assert found["reference"] == {"accuracy": 0.0, "params": 1000.0}
    assert found["outside_reference"] == fronts.outside_reference(home, OBJECTIVES) == ["t0001"]
