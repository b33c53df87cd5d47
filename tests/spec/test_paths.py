"""Paths in a spec, relative to the directory in which its sweep was started, and URIs of SQLite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import InputError
from tutelage.spec import paths
from tutelage.spec.loading import default_tracking_uri, from_dict
from tutelage.spec.spec import Spec

TREE: dict[str, Any] = {
    "name": "one", "data": {"table": {"path": "data/a.csv", "label": "y", "test_path": "data/b.csv"}},
    "teacher": {"path": "nets/teacher"}, "knowledge": {"local_dir": "cache"},
    "more_teachers": [
        {"model": "mlp", "weights": "nets/w.pt"}, {"path": "models:/big@champion"},
        {"model": "mlp", "epochs": 1, "source": {"data": {"table": {"path": "data/c.csv", "label": "y"}}, "epochs": 1}},
    ],
    "tracking": {"uri": "sqlite:///runs/m l.db?timeout=9"},
    "student": {"model": "mlp"},
}  # fmt: skip


def found(spec: Spec) -> list[str]:
    assert isinstance(spec.data, dict) and isinstance(spec.more_teachers[2].source.data, dict)  # type: ignore[union-attr]
    table = spec.data["table"]
    source = spec.more_teachers[2].source.data["table"]["path"]  # type: ignore[union-attr, call-overload, index]
    return [
        table["path"], table["test_path"], spec.teacher.path, spec.more_teachers[0].weights, source,
        spec.knowledge.local_dir, spec.tracking.uri,
    ]  # type: ignore[list-item]  # fmt: skip


def test_relative_paths_are_resolved_from_their_own_directory_and_back(tmp_path: Path) -> None:
    project, here = tmp_path / "project", tmp_path / "here"
    for directory, name in ((project, "data/a.csv"), (here, "data/a.csv"), (here, "data/b.csv"), (here, "nets/teacher")):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
    given = from_dict(TREE)
    located = paths.located(given, [project, here])
    assert found(located) == [
        f"{project}/data/a.csv", f"{here}/data/b.csv", f"{here}/nets/teacher", f"{project}/nets/w.pt",
        f"{project}/data/c.csv", f"{project}/cache", f"sqlite:///{project}/runs/m l.db?timeout=9",
    ]  # fmt: skip
    assert located.more_teachers[1].path == "models:/big@champion"
    assert paths.located(located, [Path("/elsewhere")]) == located
    assert paths.seen_from(paths.located(given, [project]), project) == given


def test_a_home_directory_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    spec = from_dict({**TREE, "teacher": {"path": "~/nets"}, "storage": "~/sweeps"})
    assert paths.located(spec, [Path("/project")]).teacher.path == "/home/me/nets"
    assert spec.storage == "/home/me/sweeps"


@pytest.mark.parametrize(
    "name", ["plain", "sp ace", "per%20cent", "10%", "qu?estion", "a%3Fb?c", "ha#sh", "ä&ü", "a@b:c", "it's"]
)
def test_sqlite_uris_name_a_file_with_any_path(tmp_path: Path, name: str) -> None:
    from sqlalchemy import create_engine, text

    database = tmp_path / name / "mlflow.db"
    database.parent.mkdir()
    uri = default_tracking_uri(database.parent)
    assert paths.sqlite_path(uri) == database
    with create_engine(uri).begin() as connection:
        connection.execute(text("create table a (b int)"))
    assert [path.name for path in tmp_path.iterdir()] == [name] and database.stat().st_size > 0


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "http://host/a", "postgresql://host/a"])
def test_other_uris_name_no_file(uri: str) -> None:
    assert paths.sqlite_path(uri) is None


def test_data_have_the_same_name_from_any_directory_and_after_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for project in (tmp_path / "a", tmp_path / "b"):
        (project / "sub").mkdir(parents=True)
        for here, path in ((project, "data/a.csv"), (project / "sub", "../data/a.csv"), (tmp_path, f"{project}/data/a.csv")):
            monkeypatch.chdir(here)
            names.add(str(paths.data_seen_from({"table": {"path": path}}, project / ".tutelage")))
    assert names == {"{'table': {'path': '../data/a.csv'}}"}
    assert paths.data_seen_from("digits", tmp_path) == "digits"


def test_weights_that_students_start_from_are_resolved_and_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = from_dict({**TREE, "student": {"model": "mlp", "weights": "nets/s.safetensors"}})
    there = paths.located(spec, [tmp_path])
    assert there.student["weights"] == str(tmp_path / "nets/s.safetensors")
    assert paths.seen_from(there, tmp_path).student["weights"] == "nets/s.safetensors"
    assert paths.located_start(spec) == tmp_path / "nets/s.safetensors"
    assert paths.located_start(from_dict(TREE)) is None
    with pytest.raises(InputError, match=r"student\.weights cannot be searched"):
        paths.located_start(from_dict({**TREE, "student": {"model": "mlp", "weights": {"choice": ["a", "b"]}}}))


def test_paths_of_pretrained_models_are_resolved_too(tmp_path: Path) -> None:
    model = {"huggingface": {"path": "nets/bert", "word": "first"}}
    spec = from_dict({
        "name": "one", "data": "digits", "teacher": {"model": model, "epochs": 1},
        "student": {"model": {"choice": {"mlp": {"hidden": 8}, **model}}},
    })  # fmt: skip
    there = paths.located(spec, [tmp_path])
    assert there.teacher.model == {"huggingface": {"path": str(tmp_path / "nets/bert"), "word": "first"}}
    assert str(tmp_path / "nets/bert") in str(there.student["model"])
    assert paths.seen_from(there, tmp_path) == spec
    assert paths.located_model("mlp", [tmp_path]) == "mlp"
