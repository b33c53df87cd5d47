"""The command line as people meet it: exit codes, what is on stdout, what a mistake gets."""

from __future__ import annotations

import io
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import SMALL_SPEC
from tests.stored_sweep import write_sweep
from tutelage import cli, console
from tutelage.records import fronts
from tutelage.records.sweep_dir import SweepDir


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tutelage", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    printed = capsys.readouterr()
    code = caught.value.code
    return (code if isinstance(code, int) else 0), printed.out, printed.err


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**SMALL_SPEC, "storage": str(tmp_path / "storage")}))
    return path


def test_a_sign_that_the_terminal_lacks_stops_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(cli, "app", lambda **_: console.say("a front of 3 ★"))
    cli.main()
    written.flush()
    assert written.buffer.getvalue() == b"a front of 3 ?\n"  # type: ignore[attr-defined]


def test_list_shows_every_family_and_suggests_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    for family in ("tasks", "data", "models", "losses", "sparsity", "policies"):
        code, out, _ = run(capsys, "list", family, "--json")
        rows = json.loads(out)
        assert code == 0
        assert rows
        assert all(row["summary"] for row in rows)
    code, out, err = run(capsys, "list", "model")
    assert code == 2
    assert out == ""
    assert "Did you mean 'models'?" in err


def test_python_runs_the_package_as_a_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tutelage", "list", "rules"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tutelage", run_name="__main__")
    assert ended.value.code == 0 and "promotion" in capsys.readouterr().out


def test_modules_in_the_working_directory_are_found_after_installed_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The installed command does not have its working directory on the path, as `python -m` has."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "schema")[0] == 0
    assert sys.path[-1] == str(tmp_path)


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "schema")
    assert code == 0
    assert json.loads(out)["properties"]["name"]


@pytest.mark.slow
def test_a_dry_run_prints_the_cost_and_trains_nothing(capsys: pytest.CaptureFixture[str], spec_path: Path) -> None:
    code, out, _ = run(capsys, "sweep", spec_path, "--dry-run", "--json", "--trials", 30)
    plan = json.loads(out)
    assert code == 0
    assert plan["trials"] == 30
    assert plan["teacher"]["source"] == "to be trained"
    assert plan["teacher"]["train_s"] > 0
    assert 0 < plan["trial_s_range"][0] <= plan["trial_s"] <= plan["trial_s_range"][1]
    assert "student.model.mlp.hidden" in plan["searched"]
    assert not (spec_path.parent / "storage" / "sweeps").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "student.epoch=3"], 2, "Did you mean 'epochs'"),
        (["--set", "data=digit"], 2, "Did you mean 'digits'"),
        (["--set", "teacher={path: /no/such/teacher}"], 2, "not a readable network"),
        (["--set", "data={'nowhere:Data': {}}"], 2, "cannot be imported"),
        (["--tracking-uri", "http://127.0.0.1:9"], 3, "out of reach"),
        (["--tracking-uri", "./mlruns"], 3, "no longer writes"),
        (["--set", "storage=/proc/none"], 3, "cannot be written"),
        (["--set", "storage=s3://bucket/sweeps"], 2, "storage s3://bucket/sweeps is a URI"),
        (["--dry-run", "--set", "resources.trial.cpus=4000"], 3, "asks for 4000 CPUs, and no node has that much"),
        (["--dry-run", "--set", "resources.trial.gpus=0.5", "--set", "resources.trial.cpus=4000"], 3, "no node has that much"),
        (["--dry-run", "--set", "resources.teacher.workers=4000"], 3, "4000 workers of 1 CPU each, and there is room for"),
    ],
)
def test_a_wrong_spec_gives_one_message_and_leaves_no_file(
    capsys: pytest.CaptureFixture[str], spec_path: Path, arguments: list[str], code: int, said: str
) -> None:
    found, out, err = run(capsys, "sweep", spec_path, "--dry-run", *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    assert not (spec_path.parent / "storage" / "sweeps").exists()


def test_an_unknown_sweep_is_an_error_with_the_nearest_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "status", "digits", "--storage", tmp_path)
    assert code == 2
    assert "no sweep 'digits'" in err


@pytest.mark.ray
def test_commands_show_a_finished_sweep(capsys: pytest.CaptureFixture[str], small_sweep: SweepDir, tmp_path: Path) -> None:
    storage = ("--storage", small_sweep.storage.uri)
    code, out, _ = run(capsys, "front", "small", *storage, "--json")
    front = json.loads(out)
    assert code == 0
    assert front["version"] == 1
    assert [o["name"] for o in front["objectives"]] == ["accuracy", "params"]
    sizes = [student["measures"]["params"] for student in front["students"]]
    accuracies = [student["measures"]["accuracy"] for student in front["students"]]
    assert sizes == sorted(sizes)
    assert accuracies == sorted(accuracies)
    assert all(student["run_id"] for student in front["students"])
    assert front["hypervolume"] > 0
    by_run_id = run(capsys, "front", small_sweep.facts()["run_id"], *storage, "--json")[1]
    assert json.loads(by_run_id) == front
    code, out, _ = run(capsys, "status", "smal", *storage)
    assert code == 2
    code, out, _ = run(capsys, "status", "small", *storage, "--json")
    status = json.loads(out)
    assert status["state"] == "finished"
    assert status["trials"]["finished"] == 8
    assert status["front_size"] == len(sizes)
    files = [tmp_path / name for name in ("f.csv", "f.html", "f.png")]
    code, out, _ = run(capsys, "front", "small", *storage, "--csv", files[0], "--html", files[1], "--png", files[2])
    assert code == 0
    assert "accuracy" in out
    assert files[0].read_text().startswith("trial,accuracy,params")
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert "cdn.plot.ly" not in files[1].read_text().split("</script>")[-1]


@pytest.mark.ray
def test_select_exits_with_four_if_no_student_fits(capsys: pytest.CaptureFixture[str], small_sweep: SweepDir) -> None:
    code, out, err = run(capsys, "select", "small", "--storage", small_sweep.storage.uri, "--max", "params=3")
    assert (code, out) == (4, "")
    assert "The nearest" in err
    for wrong in ("parms=3", "params", "params=few"):
        code, _, err = run(capsys, "select", "small", "--storage", small_sweep.storage.uri, "--max", wrong)
        assert code == 2


@pytest.mark.ray
def test_a_name_that_is_taken_is_an_error_before_ray_starts(
    capsys: pytest.CaptureFixture[str], small_sweep: SweepDir, small_spec: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(small_spec))
    before = small_sweep.facts()
    code, _, err = run(capsys, "sweep", path)
    assert code == 2
    assert "a sweep named 'small' exists" in err
    assert small_sweep.facts() == before


@pytest.mark.ray
def test_an_exported_student_is_evaluated_like_the_original(
    capsys: pytest.CaptureFixture[str], small_sweep: SweepDir, tmp_path: Path
) -> None:
    storage = ("--storage", small_sweep.storage.uri)
    record = small_sweep.records()[0]
    name = f"small/{record.trial_id}"
    code, out, _ = run(capsys, "export", name, tmp_path / "out", *storage, "--check", "--json")
    exported = json.loads(out)
    assert code == 0
    assert max(exported["largest_difference"].values()) <= 1e-5
    for model in (name, str(tmp_path / "out")):
        code, out, _ = run(capsys, "evaluate", model, small_sweep.spec_path, *storage, "--json")
        assert json.loads(out)["accuracy"] == pytest.approx(record.measures["accuracy"])
    code, _, err = run(capsys, "export", "small/t9999", tmp_path / "other", *storage)
    assert code == 2
    assert "no trained student" in err
    code, _, err = run(capsys, "export", "small", tmp_path / "out", *storage)
    assert code == 2


@pytest.mark.ray
def test_doctor_reports_what_works_and_what_failed(
    capsys: pytest.CaptureFixture[str], ray_cluster: None, tmp_path: Path
) -> None:
    code, out, _ = run(capsys, "doctor", "--storage", tmp_path, "--json")
    checks = {row["check"]: row["state"] for row in json.loads(out)["checks"]}
    assert code == 0
    assert set(checks.values()) == {"ok"}
    assert {"storage", "tracking", "cluster", "storage from a worker", "clock of a worker"} <= set(checks)
    code, out, err = run(capsys, "doctor", "--storage", tmp_path, "--tracking-uri", "http://127.0.0.1:9")
    assert code == 3
    assert "out of reach" in out
    assert "a sweep could not run here" in err


def test_the_picture_of_a_front_has_the_error_bars_of_fresh_seeds(
    capsys: pytest.CaptureFixture[str], context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_sweep(tmp_path, context, [{"mlp": {"hidden": 4}}])
    fresh = {"confirmed_mean": 0.9, "confirmed_seeds": 3.0, "confirmed_low": 0.8, "confirmed_high": 0.95}
    shown = [replace(record, measures={**record.measures, **fresh}) for record in home.records()]
    monkeypatch.setattr(fronts, "candidates", lambda home: shown)
    code, _, err = run(capsys, "front", "stored", "--storage", tmp_path, "--html", tmp_path / "front.html")
    assert code == 0, err
    assert "fresh seeds, mean and 95 % interval (1)" in (tmp_path / "front.html").read_text()


def test_a_file_of_another_user_and_a_removed_working_directory_are_no_tracebacks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run(capsys, "list", "rules")[0] == 0

    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "/there/mlflow.db")

    monkeypatch.setattr(cli, "app", denied)
    code, _, err = run(capsys, "doctor")
    assert code == 3
    assert err == (
        "error: /there/mlflow.db cannot be accessed: Permission denied. Ask its owner for access, or name another place.\n"
    )
