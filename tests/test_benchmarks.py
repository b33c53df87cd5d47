"""Every benchmark runs: its whole path with `--smoke`, started as a file, and its options, started as a module."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.benchmarks import overhead, smoke
from tests.requirements import needs_chromium

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "tests" / "benchmarks").glob("*.py")
    if "smoke.Parser(" in path.read_text(encoding="utf-8") and path.stem != "smoke"
)
OTHERS = {
    "contest", "explorer_store", "golden", "grounds", "guard_real", "machine", "moasha_child", "outputs", "pair", "problems",
    "removal_tables", "smoke", "synthetic_snapshot", "__init__",
}  # fmt: skip
ON_A_CLUSTER = {"against_stock", "deaths", "front_against_labels", "losses", "published", "record", "removal", "start"}
IN_A_BROWSER = {"explorer"}
RECIPES = {recipe: kind for kind, (recipe, *_) in overhead.KINDS.items()}  # the last kind of each
RUNS = [
    *((script, ()) for script in SCRIPTS if script not in {*ON_A_CLUSTER, *IN_A_BROWSER, "overhead"}),
    ("guard", ("--real", "1")),
    ("guard", ("--real", "2", "--cifar", "a tiny folder")),
]
BROWSER = [pytest.mark.browser, needs_chromium]
CLUSTER_RUNS = [
    *((script, ()) for script in sorted(ON_A_CLUSTER)),
    *(("overhead", ("--only", RECIPES[recipe])) for recipe in ("function", "torch-trainer")),  # ours runs as a command
    ("honest_selection", ("--real", "1")),
]


def python(*arguments: str, cwd: Path = ROOT) -> str:
    """Run Python, at the repository's root or in `cwd`, without what is set for the cluster of this run; return its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_every_file_is_a_benchmark_that_is_run_or_part_of_one() -> None:
    assert {path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py")} == {*SCRIPTS, *OTHERS}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        *RUNS,
        *(pytest.param(*run, marks=pytest.mark.ray) for run in CLUSTER_RUNS),
        *(pytest.param(script, (), marks=BROWSER) for script in sorted(IN_A_BROWSER)),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_a_benchmark_runs_whole_on_tiny_data(
    script: str, arguments: tuple[str, ...], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """In this process: its imports, and the cluster that it needs, are there already."""
    if (script, arguments) in CLUSTER_RUNS:
        request.getfixturevalue("ray_cluster")
    monkeypatch.setattr(sys, "argv", [script, "--smoke", *arguments])
    importlib.import_module(f"tests.benchmarks.{script}").main()
    assert capsys.readouterr().out or script == "record"


@pytest.mark.ray  # it starts a cluster of its own
@pytest.mark.slow
def test_a_benchmark_runs_whole_as_a_command() -> None:
    assert python("tests/benchmarks/overhead.py", "--smoke", "--only", "ours, 1 s")


def with_processes_here(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process that the benchmark starts be a call of its `main` in this one, whose output comes back as a process's."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        program, script, *arguments = command
        assert program == sys.executable and script == module.__file__ and "--one" in arguments
        with monkeypatch.context() as child, redirect_stdout(io.StringIO()) as printed:
            child.setattr(sys, "argv", [script, *arguments])
            module.main()
        return subprocess.CompletedProcess(command, 0, printed.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(smoke, "is_shared", lambda: False)


def test_each_kind_of_overhead_is_measured_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_processes_here(overhead, monkeypatch)
    monkeypatch.setattr(overhead, "measured", lambda kind, *, is_smoke: {"kind": kind, "is_smoke": is_smoke})
    monkeypatch.setattr(sys, "argv", ["overhead.py", "--smoke", "--json"])
    overhead.main()
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows == [{"kind": kind, "is_smoke": True} for kind in overhead.KINDS]


@pytest.mark.slow  # its imports
def test_each_recipe_against_stock_is_run_in_a_process_with_the_options_of_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.benchmarks import against_stock

    def recipe(name: str) -> Any:
        return lambda options, seed: [(options.minutes, options.trials or 0, float(seed)), (1.0, 2.0, float(len(name)))]

    with_processes_here(against_stock, monkeypatch)
    for name in against_stock.RECIPES:
        monkeypatch.setitem(against_stock.RECIPES, name, recipe(name))
    rows = tmp_path / "rows.jsonl"
    words = ["spec.yaml", str(rows), "--minutes", "7", "--seeds", "2", "--trials", "3"]
    monkeypatch.setattr(sys, "argv", ["against_stock.py", *words])
    for _ in range(2):  # the second time all rows are there
        against_stock.main()
    found = {(row["recipe"], row["seed"]): row["students"] for row in against_stock.read(rows)}
    assert len(rows.read_text().splitlines()) == len(found) == 6
    assert found == {(name, seed): [[7.0, 3, seed], [1.0, 2.0, len(name)]] for name in against_stock.RECIPES for seed in (0, 1)}


@pytest.mark.slow
def test_benchmarks_start_as_files_and_as_modules(tmp_path: Path) -> None:
    """One process starts them all; a file finds the others of its folder without this run's path."""
    code = """
import contextlib, runpy, sys
root, *names = sys.argv[1:]
path = [entry for entry in sys.path if entry not in ("", root)]
for name in names:
    for is_file in (True, False):
        for module in [module for module in sys.modules if module.split(".")[0] == "tests"]:
            del sys.modules[module]
        sys.path[:], sys.argv = (path if is_file else [root, *path]), [name, "--help"]
        with contextlib.suppress(SystemExit):
            if is_file:
                runpy.run_path(f"{root}/tests/benchmarks/{name}.py", run_name="__main__")
            else:
                runpy.run_module(f"tests.benchmarks.{name}", run_name="__main__", alter_sys=True)
"""
    assert python("-c", code, str(ROOT), *SCRIPTS, cwd=tmp_path).count("usage:") == 2 * len(SCRIPTS)
