"""Where a sweep is kept: whose name is free, what is found under it, how often its test split was evaluated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.errors import InputError
from tutelage.records import sweep_dir
from tutelage.records.trial import TrialRecord

Make = Callable[..., TrialRecord]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_sweep_without_students_does_not_hold_its_name(state: str, tmp_path: Path) -> None:
    home = sweep_dir.create(tmp_path, "mine", "before")
    home.update(state=state)
    assert sweep_dir.create(tmp_path, "mine", "after").spec_path.read_text() == "after"


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_sweep_with_a_finished_student_is_never_replaced(state: str, tmp_path: Path, make_record: Make) -> None:
    home = sweep_dir.create(tmp_path, "mine", "before")
    home.ledger.append(make_record(0, accuracy=0.5))
    home.update(state=state)
    for take in (lambda: sweep_dir.check_free(tmp_path, "mine"), lambda: sweep_dir.create(tmp_path, "mine", "after")):
        with pytest.raises(InputError, match=r"a sweep named 'mine' exists.*tutelage resume mine"):
            take()
    assert home.spec_path.read_text() == "before" and len(home.records()) == 1


@pytest.mark.parametrize("state", ["started", "running", "finished"])
def test_a_sweep_that_is_under_way_or_finished_holds_its_name(state: str, tmp_path: Path) -> None:
    sweep_dir.create(tmp_path, "mine", "before").update(state=state)
    with pytest.raises(InputError, match="exists"):
        sweep_dir.check_free(tmp_path, "mine")


def test_a_sweep_is_found_by_its_name_or_its_run(tmp_path: Path) -> None:
    home, other = (sweep_dir.create(tmp_path, name, "") for name in ("digits", "other"))
    home.update(run_id="abc")
    other.update(run_id="digits")
    assert sweep_dir.find(tmp_path, "digits").root == home.root, "a name comes before a run"
    assert sweep_dir.find(tmp_path, "abc").root == home.root
    with pytest.raises(InputError, match=r"no sweep 'digit'.*Did you mean 'digits'.*Known: digits, other"):
        sweep_dir.find(tmp_path, "digit")


def test_test_evaluations_count_every_one_and_each_student_once(tmp_path: Path) -> None:
    home = sweep_dir.create(tmp_path, "mine", "")
    assert sweep_dir.test_evaluations(home) == {"evaluations": 0, "students": 0}
    for trial in ("t0000", "t0001", "t0000"):
        sweep_dir.record_test_evaluation(home, trial, "evaluate")
    assert sweep_dir.test_evaluations(home) == {"evaluations": 3, "students": 2}


def test_further_measures_are_added_to_the_trials_that_they_name(tmp_path: Path, make_record: Make) -> None:
    home = sweep_dir.create(tmp_path, "mine", "")
    for number in range(2):
        home.ledger.append(make_record(number, accuracy=0.5))
    home.add_measures({"t0001": {"latency_ms": 2.0}})
    assert [record.measures.get("latency_ms") for record in home.records()] == [None, 2.0]
