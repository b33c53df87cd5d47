"""A sweep in its storage: where it is now, wherever it was started and wherever a command runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tutelage.records import sweep_dir
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
    home = sweep_dir.create(Path(".tutelage"), "one", dump(from_dict(TREE).kept()))
    teacher = Path(".tutelage/teachers/abc").resolve()
    plan = KnowledgePlan(teachers=((teacher, 1.0),), directory=Path(".tutelage/knowledge/xyz").resolve())
    home.update(knowledge=plan.document(home.storage))
    old.rename(new)
    for here, storage in ((new, ".tutelage"), (elsewhere, "../new place/.tutelage"), (elsewhere, str(new / ".tutelage"))):
        monkeypatch.chdir(here)
        found = sweep_dir.find(Path(storage), "one")
        spec = found.spec()
        assert Path(spec.storage).resolve() == new / ".tutelage"
        assert spec.data == {"table": {"path": f"{new}/data/a.csv", "label": "y"}}
        assert found.tracking_uri == f"sqlite:///{new}/tracking/m.db"
        there = planned(found.facts()["knowledge"], found.storage)
        assert there.directory == new / ".tutelage/knowledge/xyz" and there.teachers[0][0] == new / ".tutelage/teachers/abc"
    assert not old.exists()


def test_commands_can_be_copied_into_a_shell(tmp_path: Path) -> None:
    assert sweep_dir.SweepDir(Path(".tutelage/sweeps/one")).command("resume") == "tutelage resume one"
    storage = tmp_path / "it's a place; $HOME"
    command = sweep_dir.SweepDir(storage / "sweeps" / "one").command("resume")
    assert shlex.split(command) == ["tutelage", "resume", "one", "--storage", str(storage)]
