"""Every command of the program, called as from a shell: what it passes on, what it prints, its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tests.conftest import SMALL_SPEC
from tests.stored_sweep import write_sweep
from tests.test_cli import run
from tutelage import cli, doctor
from tutelage.dashboard import serving
from tutelage.errors import NotPromoted
from tutelage.export import evaluate as evaluating
from tutelage.export import export as exporting
from tutelage.export import registry
from tutelage.objectives import Limits
from tutelage.records.sweep_dir import SweepDir
from tutelage.selection import select as choosing
from tutelage.selection.champions import Registration
from tutelage.sweep import pipeline
from tutelage.sweep import resume as resuming
from tutelage.sweep.teacher_store import Teacher
from tutelage.training.context import TrainingContext

PROGRAM: Any = typer.main.get_command(cli.app)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, context: TrainingContext) -> SweepDir:
    """A finished sweep of two students. Commands read it and do not change it."""
    storage = tmp_path_factory.mktemp("storage")
    found = write_sweep(storage, context, [{"mlp": {"hidden": 3}}, {"mlp": {"hidden": 24}}])
    found.update(experiment_id="7")
    write_sweep(storage, context, [{"mlp": {"hidden": 4}}], name="other")
    return found


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *words: run(capsys, *words)


@pytest.fixture
def spec_path(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**SMALL_SPEC, "storage": str(tmp_path / "storage")}))
    return path


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, home: SweepDir, tmp_path: Path) -> dict[str, Any]:
    """What the steps behind the commands are given, instead of being done."""
    found: dict[str, Any] = {}

    def fake(module: Any, name: str, result: Callable[[], Any]) -> None:
        def step(*arguments: Any, **options: Any) -> Any:
            found.update(options, arguments=arguments)
            return result()

        monkeypatch.setattr(module, name, step)

    teacher = Teacher(directory=tmp_path / "t", address="abc", measures={"accuracy": 0.9})
    fake(pipeline, "sweep", lambda: home)
    fake(pipeline, "train_teacher", lambda: teacher)
    fake(pipeline, "catch_up", lambda: {"version": 1, "sweep": "stored", "written": 3})
    fake(resuming, "resume", lambda: home)
    document = {**(home.selection() or {}), "model": {"promoted": False, "why": "It is not better.", "aliases": [],
                                                      "name": "m", "version": "1"}}  # fmt: skip
    fake(choosing, "select", lambda: choosing.Choice(
        document=document, student_dir=tmp_path, report_path=tmp_path / "report.html"
    ))  # fmt: skip
    fake(registry, "roll_back", lambda: registry.RolledBack(name="m", champion="1", previous="2"))
    fake(doctor, "examine", lambda: [{"check": "storage", "state": "ok", "found": "it is writable"}])
    return found


ADDRESS = ("--address", "10.0.0.1:6379")


def test_sweep_passes_the_spec_with_its_options_on(shell: Run, spec_path: Path, given: dict[str, Any]) -> None:
    code, out, err = shell(
        "sweep",
        spec_path,
        "--trials",
        5,
        "--set",
        "student.epochs=3",
        "--tracking-uri",
        "sqlite:///other.db",
        *ADDRESS,
        "--json",
    )
    (spec,) = given["arguments"]
    assert code == 0 and json.loads(out)["sweep"] == "stored"
    assert (spec.search.trials, spec.student["epochs"], spec.tracking.uri) == (5, 3, "sqlite:///other.db")
    assert given["address"] == "10.0.0.1:6379" and len(given["observers"]) == 1
    assert "select a student: tutelage select stored --storage" in err


def test_resume_passes_its_options_on(shell: Run, spec_path: Path, home: SweepDir, given: dict[str, Any]) -> None:
    code, _, _ = shell("resume", "stored", "--storage", home.storage.uri, "--trials", "+50", "--spec", spec_path, *ADDRESS)
    assert code == 0 and given["arguments"][0].files.uri == home.files.uri
    assert (given["trials"], given["spec"].name, given["address"]) == ("+50", "small", "10.0.0.1:6379")


@pytest.mark.parametrize("command", ["sweep", "resume"])
def test_an_interrupted_command_ends_with_130(
    command: str, shell: Run, spec_path: Path, home: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "sweep", interrupted)
    monkeypatch.setattr(resuming, "resume", interrupted)
    words = [spec_path] if command == "sweep" else ["stored", "--storage", home.storage.uri]
    code, out, err = shell(command, *words)
    assert (code, out) == (130, "") and "stopped by SIGINT." in err


def test_teacher_prints_where_the_teacher_is(shell: Run, spec_path: Path, given: dict[str, Any]) -> None:
    code, out, _ = shell("teacher", spec_path, "--set", "teacher.epochs=2", *ADDRESS, "--json")
    assert code == 0 and json.loads(out).items() >= {"address": "abc", "accuracy": 0.9}.items()
    assert (given["arguments"][0].teacher.epochs, given["address"]) == (2, "10.0.0.1:6379")


def test_status_counts_trials(shell: Run, home: SweepDir) -> None:
    code, out, _ = shell("status", "stored", "--storage", home.storage.uri, "--json")
    found = json.loads(out)
    assert code == 0 and found["state"] == "finished" and found["trials"]["finished"] == 2
    assert "hypervolume" in shell("status", "stored", "--storage", home.storage.uri)[1]


def test_a_storage_below_the_home_directory_is_found(shell: Run, home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(home.storage.uri).parent))
    assert shell("status", "stored", f"--storage=~/{Path(home.storage.uri).name}")[0] == 0


def test_front_prints_and_writes_the_table(shell: Run, home: SweepDir, tmp_path: Path) -> None:
    code, out, _ = shell("front", "stored", "--storage", home.storage.uri, "--csv", tmp_path / "front.csv")
    assert code == 0 and "t0001" in out
    assert (tmp_path / "front.csv").read_text().startswith("trial,accuracy,params")


def test_select_passes_every_option_on(shell: Run, home: SweepDir, given: dict[str, Any]) -> None:
    code, out, _ = shell(
        "select", "stored", "--storage", home.storage.uri, "--policy", "smallest-within", "--option", "within=0.02",
        "--max", "size_bytes=20k", "--min", "accuracy=0.5", "--confirm", 4, "--rivals", 2, "--register", "m",
        "--alias", "small", "--margin", 0.05, "--force", "--again", "--trust", *ADDRESS, "--json",
    )  # fmt: skip
    assert code == 0 and json.loads(out)["sweep"] == "stored"
    assert given.pop("arguments")[0].files.uri == home.files.uri and len(given.pop("observers")) == 1
    assert given == {
        "policy": {"smallest-within": {"within": 0.02}}, "limits": Limits(max={"size_bytes": 20e3}, min={"accuracy": 0.5}),
        "confirm": 4, "rivals": 2, "again": True, "address": "10.0.0.1:6379",
        "register": Registration(name="m", aliases=["small"], margin=0.05, force=True, trust=True),
    }  # fmt: skip


def test_a_lower_bound_alone_is_a_limit(shell: Run, home: SweepDir, given: dict[str, Any]) -> None:
    assert shell("select", "stored", "--storage", home.storage.uri, "--min", "accuracy=0.5")[0] == 0
    assert given["limits"] == Limits(min={"accuracy": 0.5}) and given["register"] is None and given["policy"] is None


def test_a_required_promotion_that_fails_has_its_exit_code(shell: Run, home: SweepDir, given: dict[str, Any]) -> None:
    words = ("select", "stored", "--storage", home.storage.uri, "--register", "m")
    assert shell(*words)[0] == 0
    code, _, err = shell(*words, "--require-promotion")
    assert code == NotPromoted.exit_code and "It is not better." in err


@pytest.mark.parametrize("words", [["--alias", "a"], ["--force"], ["--require-promotion"], ["--option", "within=1"]])
def test_an_option_without_the_one_that_it_belongs_to_is_an_error(
    words: list[str], shell: Run, home: SweepDir, given: dict[str, Any]
) -> None:
    code, out, err = shell("select", "stored", "--storage", home.storage.uri, *words)
    assert (code, out) == (2, "") and ("--register NAME" in err or "--policy NAME" in err)


def test_rollback_passes_the_registry_on(shell: Run, home: SweepDir, given: dict[str, Any]) -> None:
    assert shell("rollback", "m", "--storage", home.storage.uri)[0] == 0
    assert given["arguments"] == (f"sqlite:///{Path(home.storage.uri).resolve()}/mlflow.db", "m")
    code, out, _ = shell("rollback", "m", "--tracking-uri", "http://there", "--json")
    assert code == 0 and json.loads(out)["champion"] == "1" and given["arguments"] == ("http://there", "m")


def test_report_writes_a_page(shell: Run, home: SweepDir, tmp_path: Path) -> None:
    code, out, _ = shell("report", "stored", tmp_path / "page.html", "--storage", home.storage.uri)
    assert code == 0 and out.strip() == str(tmp_path / "page.html")
    assert "stored" in (tmp_path / "page.html").read_text()


def test_compare_passes_sizes_and_reference_on(shell: Run, home: SweepDir) -> None:
    code, out, _ = shell(
        "compare", "stored", "other", "--storage", home.storage.uri, "--at", "5k", "--reference", "params=9k", "--json"
    )
    found = json.loads(out)
    assert code == 0 and found["reference"]["params"] == 9000
    assert [one["best_at"][0]["at_most"] for one in found["sweeps"]] == [5000, 5000]


def test_export_writes_the_given_forms(shell: Run, home: SweepDir, tmp_path: Path) -> None:
    words = ("export", "stored/t0000", tmp_path / "out", "--storage", home.storage.uri, "--form", "weights", "--licence", "MIT")
    code, out, _ = shell(*words, "--json")
    assert code == 0
    assert {one["form"] for one in json.loads(out)["files"].values()} >= {"weights"} and not list(tmp_path.glob("out/*.onnx"))
    assert "MIT" in (tmp_path / "out" / "README.md").read_text()


def test_a_form_that_was_left_out_is_an_error(
    shell: Run, home: SweepDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def export(model: str, directory: Path, storage: Path, options: Any, uri: str | None) -> dict[str, Any]:
        seen.append((options, uri))
        return {
            "directory": str(directory),
            "files": {},
            "largest_difference": None,
            "kept": [],
            "refused": ["onnx-int8 loses"],
        }

    monkeypatch.setattr(exporting, "export_model", export)
    code, _, err = shell(
        "export", "stored", tmp_path, "--storage", home.storage.uri, "--max-loss", 0.2, "--check", "--form", "onnx-int8",
        "--tracking-uri", "http://there", "--data", home.spec_path, "--trust",
    )  # fmt: skip
    assert code == 1 and "onnx-int8 loses. It was left out" in err
    ((options, uri),) = seen
    assert (options.max_loss, options.check, options.forms, uri) == (0.2, True, ["onnx-int8"], "http://there")
    assert options.data.name == "stored" and options.trust


@pytest.mark.slow
def test_evaluate_measures_a_split_of_a_specs_data(shell: Run, home: SweepDir) -> None:
    words = ("evaluate", "stored/t0001", home.spec_path, "--storage", home.storage.uri, "--json")
    code, out, _ = shell(*words)
    found = json.loads(out)
    record = next(record for record in home.records() if record.trial_id == "t0001")
    assert code == 0 and found["split"] == "validation"
    assert found["accuracy"] == pytest.approx(record.measures["accuracy"])
    other = json.loads(shell(*words, "--split", "train")[1])
    assert other["split"] == "train" and other["examples"] != found["examples"]
    otherwise_split = json.loads(shell(*words, "--set", "seed=3")[1])
    assert otherwise_split["accuracy"] != found["accuracy"], "the data are those of the spec with its options"


def test_evaluate_passes_trust_on(shell: Run, home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(evaluating, "evaluate_model", lambda *_, trust: seen.append(trust) or {})
    for words, trust in (([], False), (["--trust"], True)):
        assert shell("evaluate", "stored", home.spec_path, *words)[0] == 0
        assert seen.pop() is trust


def test_track_passes_the_new_address_on(shell: Run, home: SweepDir, given: dict[str, Any]) -> None:
    code, out, _ = shell("track", "stored", "--storage", home.storage.uri, "--tracking-uri", "http://there", "--json")
    assert code == 0 and json.loads(out)["written"] == 3
    assert given["arguments"][0].files.uri == home.files.uri and given["arguments"][1] == "http://there"


def test_doctor_passes_places_on_and_fails_with_a_check(
    shell: Run, tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = shell("doctor", "--storage", tmp_path, "--tracking-uri", "http://there", *ADDRESS, "--json")
    assert code == 0 and json.loads(out)["checks"][0]["state"] == "ok"
    assert given["arguments"] == (str(tmp_path), "http://there", "10.0.0.1:6379")
    monkeypatch.setattr(doctor, "examine", lambda *_: [{"check": "clock", "state": "failed", "found": "it differs"}])
    code, out, _ = shell("doctor")
    assert code == 3 and "it differs" in out


def test_schema_and_list_print_json(shell: Run) -> None:
    assert json.loads(shell("schema")[1])["properties"]["name"]
    assert {row["name"] for row in json.loads(shell("list", "losses", "--json")[1])} >= {"kd", "dkd"}


def test_list_prints_the_options_of_a_plugin_and_what_a_measure_is(shell: Run) -> None:
    _, out, _ = shell("list", "models", "resnet")
    words = " ".join(out.split())
    assert "width channels of the first stage [whole number 1 to 1024; default: 16; search: {int: [4, 64], log: true}]" in words
    words = " ".join(shell("list", "data", "table")[1].split())
    assert "path a .csv (gzipped or not) or .parquet file [word; required]" in words
    assert json.loads(shell("list", "losses", "kd", "--json")[1])["options"][0]["option"] == "standardise"
    assert "direction minimise" in " ".join(shell("list", "measures", "macs")[1].split())
    assert json.loads(shell("list", "measures", "macs", "--json")[1])["scale"] == "tutelage.measure:log10"
    code, out, err = shell("list", "losses", "kdd")
    assert code == 2 and not out and "Did you mean 'kd'?" in err


def test_status_watches_until_the_sweep_has_ended(shell: Run, home: SweepDir) -> None:
    code, out, _ = shell("status", "stored", "--watch", "--every", "0.1", "--storage", home.storage.uri)
    assert code == 0 and "stored: finished" in out and "●" in out and "2 finished" in out
    code, out, err = shell("status", "stored", "--watch", "--json", "--storage", home.storage.uri)
    assert code == 2 and not out and "Leave one of them out" in err


def test_dashboard_passes_its_options_on(
    shell: Run, home: SweepDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    served: dict[str, Any] = {}

    def serve(address: serving.Address, settings: Any, listener: Any, say: Any, *, browser: bool) -> None:
        say(serving.urls(listener, address, settings)[0])
        served.update(address=address, settings=settings, browser=browser)
        listener.close()

    monkeypatch.setattr(serving, "serve", serve)
    home.storage.put("mlflow.db", b"")
    words = ("--storage", home.storage.uri, "--host", "127.0.0.1", "--port", "0")
    code, out, _ = shell("dashboard", "stored", *words, "--allow-promote", "--no-browser")
    assert (code, served["address"].run_id, served["browser"], served["settings"].can_promote) == (0, "run", False, True)
    assert f"?token={served['settings'].token}#sweep=run" in out
    shell("dashboard", "stored", *words, "--tracking-uri", "http://elsewhere:5000")
    assert (served["address"].uri, served["browser"], served["settings"].token) == ("http://elsewhere:5000", True, "")
    code, out, err = shell("dashboard", "--storage", str(tmp_path))
    assert code == 2 and not out and "no sweep was run" in err


def test_every_command_has_a_test() -> None:
    """A command is tested where its name is the first word after `shell(`, or the first of the words given to it."""
    text = Path(__file__).read_text()
    untested = [name for name in PROGRAM.commands if f'"{name}"' not in text]
    assert not untested


def test_every_option_has_a_test() -> None:
    text = "".join(Path(__file__).with_name(name).read_text() for name in ("test_commands.py", "test_cli.py"))
    options = {
        (name, option)
        for name, command in PROGRAM.commands.items()
        for parameter in command.params
        if parameter.param_type_name == "option"  # newer versions of typer have classes of their own, not click's
        for option in parameter.opts
    }
    assert len(options) > 60
    aliases = {("export", "--license")}
    assert not {(name, option) for name, option in options - aliases if f'"{option}"' not in text}
