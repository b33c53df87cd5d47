"""Every benchmark runs: its whole path with `--smoke`, started as a file, and its options, started as a module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "tests" / "benchmarks").glob("*.py")
    if "smoke.Parser(" in path.read_text(encoding="utf-8") and path.stem != "smoke"
)
OTHERS = {"golden", "moasha_child", "machine", "outputs", "pair", "contest", "grounds", "problems", "smoke", "__init__"}
OVERHEAD = ["ours, 1 s", "function trainable, reused actors, 1 s", "function trainable, 1 s", "TorchTrainer in the trial, 5 s"]
RUNS = [(script, []) for script in SCRIPTS if script != "overhead"]
RUNS += [("overhead", ["--only", kind]) for kind in OVERHEAD]
RUNS += [("honest_selection", ["--real", "1"])]


def python(*arguments: str) -> str:
    """Run Python at the repository's root; return what it printed."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_every_file_is_a_benchmark_that_is_run_or_part_of_one() -> None:
    assert {path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py")} == {*SCRIPTS, *OTHERS}


@pytest.mark.ray  # most start a cluster of their own: one at a time
@pytest.mark.slow
@pytest.mark.parametrize(("script", "arguments"), RUNS, ids=lambda value: value if isinstance(value, str) else ",".join(value))
def test_a_benchmark_runs_whole_on_tiny_data(script: str, arguments: list[str]) -> None:
    printed = python(f"tests/benchmarks/{script}.py", "--smoke", *arguments)
    assert printed or script == "record"


@pytest.mark.slow
def test_benchmarks_start_as_modules_too() -> None:
    code = (
        "import contextlib, runpy, sys\n"
        "for name in sys.argv[1:]:\n"
        "    sys.argv = [name, '--help']\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        runpy.run_module(f'tests.benchmarks.{name}', run_name='__main__', alter_sys=True)\n"
    )
    assert python("-c", code, *SCRIPTS).count("usage:") == len(SCRIPTS)
