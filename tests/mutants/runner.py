"""Runs tests against broken copies of the package, each in a process forked from one that has the libraries loaded."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants.mutants import PACKAGE, Mutant
from tests.mutants.processes import Job, Processes

# Importing these takes most of a test's time. None of them starts a thread, which a fork would lose.
LIBRARIES = (
    "torch", "torch.distributed.tensor", "torch.testing", "torch_pruning", "safetensors.torch", "pandas", "scipy.stats",
    "sklearn.gaussian_process", "moocore", "optuna", "mlflow", "ray.train.torch", "ray.tune", "matplotlib.figure", "plotly",
    "pydantic", "typer", "rich.live", "hypothesis", "pytest",
)  # fmt: skip

State = Literal["killed", "survived", "stale", "broken"]


@dataclass(frozen=True)
class Result:
    """What became of a mutant. `broken`: its tests fail without it as well, or cannot be collected with it."""

    mutant: Mutant
    state: State
    elapsed_s: float = 0.0
    detail: str = ""


def run(mutants: Sequence[Mutant], *, jobs: int, timeout_s: float) -> Iterator[Result]:
    """Give the result of each mutant as it comes. A mutant whose tests take longer than `timeout_s` is killed."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # what is imported is not collected again in every process
    assert "tutelage" not in sys.modules, "a forked process would have the package as it is"
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        home, processes = Path(scratch), Processes(jobs)
        stale = {mutant: why for mutant in mutants if (why := _why_stale(mutant))}
        yield from (Result(mutant, "stale", detail=why) for mutant, why in stale.items())
        fresh = [mutant for mutant in mutants if mutant not in stale]
        failing = _failing_now(fresh, home, processes, timeout_s)
        for mutant in fresh:
            if bad := failing & set(mutant.tests):
                yield Result(mutant, "broken", detail=f"{', '.join(sorted(bad))} fails without the mutant as well")
        yield from _run_broken([mutant for mutant in fresh if not failing & set(mutant.tests)], home, processes, timeout_s)


def _run_broken(mutants: Sequence[Mutant], home: Path, processes: Processes, timeout_s: float) -> Iterator[Result]:
    def job(number: int) -> Job:
        package = _broken_copy(mutants[number], home / f"{number}")
        return Job(package=package, arguments=("-x", *mutants[number].tests), log=home / f"{number}.log", timeout_s=timeout_s)

    for number, done in processes.run(len(mutants), job):
        shutil.rmtree(home / f"{number}", ignore_errors=True)
        yield Result(mutants[number], state_of(done.code), done.elapsed_s, _detail(done.code, done.lines))


def _why_stale(mutant: Mutant) -> str:
    try:
        mutant.applied((PACKAGE / mutant.file).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def _failing_now(mutants: Sequence[Mutant], home: Path, processes: Processes, timeout_s: float) -> set[str]:
    """Return which of the mutants' tests fail with the package as it is, or cannot be found."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    shares = [share for share in (tests[number :: processes.jobs] for number in range(processes.jobs)) if share]
    package = _copy(home / "whole")

    def job(number: int) -> Job:
        share = shares[number]
        return Job(package=package, arguments=tuple(share), log=home / f"whole-{number}.log", timeout_s=timeout_s * len(share))

    found = set[str]()
    for number, done in processes.run(len(shares), job):
        bad = tuple(line.split()[1] for line in done.lines if line.startswith(("FAILED ", "ERROR ")))
        named = {
            test for test in shares[number] if any(one == test or one.startswith((f"{test}[", f"{test}::")) for one in bad)
        }
        found |= named or (set(shares[number]) if done.code else set())
    return found


def _names(line: str, test: str) -> bool:
    """Return whether a line of pytest's summary says that a test, or one of its cases, failed or is not there."""
    failed = line.startswith(("FAILED ", "ERROR ")) and line.split()[1].startswith((f"{test}[", f"{test}::"))
    return failed or line.endswith(f"{test}") or line.startswith((f"FAILED {test} ", f"ERROR {test} "))


def _copy(to: Path) -> Path:
    shutil.copytree(PACKAGE, to / "tutelage")  # with its bytecode, which stays valid
    return to


def _broken_copy(mutant: Mutant, to: Path) -> Path:
    path = _copy(to) / "tutelage" / mutant.file
    path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
    return to


def state_of(code: int) -> State:
    """Return the state for pytest's exit code: 1 is a failed test, 124 a test that does not end; others prove nothing."""
    return "killed" if code in (1, 124) else "survived" if code == 0 else "broken"


def _detail(code: int, lines: Sequence[str]) -> str:
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else "" if code == 0 else f"exit code {code}: {' '.join(lines[-3:])}"


def set_threads() -> None:
    """Keep every process to one thread; to be called before torch and NumPy are imported."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
