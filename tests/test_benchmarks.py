"""Every benchmark runs: its whole path with `--smoke`, started as a file, and its options, started as a module."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "tests" / "benchmarks").glob("*.py")
    if "smoke.Parser(" in path.read_text(encoding="utf-8") and path.stem != "smoke"
)
OTHERS = {"golden", "moasha_child", "machine", "outputs", "pair", "contest", "grounds", "problems", "smoke", "__init__"}
OVERHEAD = ["function trainable, reused actors, 1 s", "function trainable, 1 s", "TorchTrainer in the trial, 5 s"]
ON_A_CLUSTER = {"against_stock", "front_against_labels", "losses", "published", "record", "removal", "start"}
RUNS = [(script, []) for script in SCRIPTS if script not in {*ON_A_CLUSTER, "overhead"}]
CLUSTER_RUNS: list[tuple[str, list[str]]] = [(script, []) for script in sorted(ON_A_CLUSTER)]
CLUSTER_RUNS += [("overhead", ["--only", kind]) for kind in OVERHEAD]
CLUSTER_RUNS += [("honest_selection", ["--real", "1"])]
NAMES: dict[str, Any] = {"ids": lambda value: value if isinstance(value, str) else ",".join(value)}


def python(*arguments: str, cwd: Path = ROOT) -> str:
    """Run Python, at the repository's root unless told otherwise; return what it printed."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_every_file_is_a_benchmark_that_is_run_or_part_of_one() -> None:
    assert {path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py")} == {*SCRIPTS, *OTHERS}


def run(monkeypatch: pytest.MonkeyPatch, script: str, arguments: list[str]) -> None:
    """Run a benchmark in this process: its imports, and the cluster that it needs, are there already."""
    monkeypatch.setattr(sys, "argv", [script, "--smoke", *arguments])
    importlib.import_module(f"tests.benchmarks.{script}").main()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("script", "arguments"), RUNS, **NAMES)
def test_a_benchmark_runs_whole_on_tiny_data(
    script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, script, arguments)
    assert capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("script", "arguments"), CLUSTER_RUNS, **NAMES)
def test_a_benchmark_runs_whole_on_tiny_data_and_a_cluster(
    script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, script, arguments)
    assert capsys.readouterr().out or script == "record"


@pytest.mark.ray  # it starts a cluster of its own
@pytest.mark.slow
def test_a_benchmark_runs_whole_as_a_command() -> None:
    assert python("tests/benchmarks/overhead.py", "--smoke", "--only", "ours, 1 s")


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
