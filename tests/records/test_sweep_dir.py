"""A sweep in its storage: where it is now, whose name is free, how often its test split was evaluated."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import InputError
from tutelage.records import sweep_dir, sweeps
from tutelage.records.trial import TrialRecord
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump
from tutelage.training.knowledge_plan import KnowledgePlan, planned

TREE: dict[str, Any] = {
    "name": "one", "data": {"table": {"path": "data/a.csv", "label": "y"}}, "teacher": {"model": "mlp", "epochs": 1},
    "student": {"model": "mlp"}, "tracking": {"uri": "sqlite:///tracking/m.db"},
}  # fmt: skip


def test_a_moved_project_is_known_by_where_it_is_from_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, elsewhere = tmp_path / "old", tmp_path / "new place", tmp_path / "elsewhere"
    (old / "data").mkdir(parents=True)
    (old / "data" / "a.csv").touch()
    elsewhere.mkdir()
    monkeypatch.chdir(old)
    home = sweeps.create(Path(".tutelage"), "one", dump(from_dict(TREE).kept()))
    plan = KnowledgePlan(storage=home.storage, teachers=(("teachers/abc", 1.0),), cache="knowledge/xyz")
    home.update(knowledge=plan.document())
    old.rename(new)
    for here, storage in ((new, ".tutelage"), (elsewhere, "../new place/.tutelage"), (elsewhere, str(new / ".tutelage"))):
        monkeypatch.chdir(here)
        found = sweeps.find(Path(storage), "one")
        spec = found.spec()
        assert Path(spec.storage).resolve() == new / ".tutelage"
        assert spec.data == {"table": {"path": f"{new}/data/a.csv", "label": "y"}}
        assert found.tracking_uri == f"sqlite:///{new}/tracking/m.db"
        there = planned(found.facts()["knowledge"], found.storage)
        assert there.entry is not None and there.entry.place("train", 0).resolve() == new / ".tutelage/knowledge/xyz/train/0000"
        assert [path.resolve() for path in there.teacher_paths()] == [new / ".tutelage/teachers/abc"]
    assert not old.exists()


def test_commands_can_be_copied_into_a_shell(tmp_path: Path) -> None:
    assert sweeps.sweep_at(".tutelage", "one").command("resume") == "tutelage resume one"
    storage = tmp_path / "it's a place; $HOME"
    command = sweeps.sweep_at(storage, "one").command("resume")
    assert shlex.split(command) == ["tutelage", "resume", "one", "--storage", str(storage)]


Make = Callable[..., TrialRecord]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_sweep_without_students_does_not_hold_its_name(state: str, tmp_path: Path) -> None:
    home = sweeps.create(tmp_path, "mine", "before")
    home.update(state=state)
    assert sweeps.create(tmp_path, "mine", "after").spec_path.read_text() == "after"


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_sweep_with_a_finished_student_is_never_replaced(state: str, tmp_path: Path, make_record: Make) -> None:
    home = sweeps.create(tmp_path, "mine", "before")
    home.ledger.append(make_record(0, accuracy=0.5))
    home.update(state=state)
    for take in (lambda: sweeps.check_free(tmp_path, "mine"), lambda: sweeps.create(tmp_path, "mine", "after")):
        with pytest.raises(InputError, match=r"a sweep named 'mine' exists.*tutelage resume mine"):
            take()
    assert home.spec_path.read_text() == "before" and len(home.records()) == 1


@pytest.mark.parametrize("state", ["started", "running", "finished"])
def test_a_sweep_that_is_under_way_or_finished_holds_its_name(state: str, tmp_path: Path) -> None:
    sweeps.create(tmp_path, "mine", "before").update(state=state)
    with pytest.raises(InputError, match="exists"):
        sweeps.check_free(tmp_path, "mine")


def test_a_sweep_is_found_by_its_name_or_its_run(tmp_path: Path) -> None:
    home, other = (sweeps.create(tmp_path, name, "") for name in ("digits", "other"))
    home.update(run_id="abc")
    other.update(run_id="digits")
    assert sweeps.find(tmp_path, "digits").files.uri == home.files.uri, "a name comes before a run"
    assert sweeps.find(tmp_path, "abc").files.uri == home.files.uri
    with pytest.raises(InputError, match=r"no sweep 'digit'.*Did you mean 'digits'.*Known: digits, other"):
        sweeps.find(tmp_path, "digit")


def test_test_evaluations_count_every_one_and_each_student_once(tmp_path: Path) -> None:
    home = sweeps.create(tmp_path, "mine", "")
    assert sweep_dir.test_evaluations(home) == {"evaluations": 0, "students": 0}
    for trial in ("t0000", "t0001", "t0000"):
        sweep_dir.record_test_evaluation(home, trial, "evaluate")
    assert sweep_dir.test_evaluations(home) == {"evaluations": 3, "students": 2}


def test_further_measures_are_added_to_the_trials_that_they_name(tmp_path: Path, make_record: Make) -> None:
    home = sweeps.create(tmp_path, "mine", "")
    for number in range(2):
        home.ledger.append(make_record(number, accuracy=0.5))
    home.add_measures({"t0001": {"latency_ms": 2.0}})
    assert [record.measures.get("latency_ms") for record in home.records()] == [None, 2.0]
