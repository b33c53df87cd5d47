"""The lists of `make mutants` are true: every line to break is there, and so is every test that must fail for it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import mutants, runner
from tests.mutants.mutants import PACKAGE, ROOT, Mutant

MUTANTS = mutants.load()
FEWEST = 120
ROOF = ("ground", "roof")  # of the package's own directory


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def problems_of(mutant: Mutant) -> Iterator[str]:
    """Give what is wrong with an entry: its line, its Python or its tests."""
    try:
        broken = mutant.applied((PACKAGE / mutant.file).read_text(encoding="utf-8"))
        ast.parse(broken)
    except (ValueError, OSError) as error:
        yield f"{mutant.file}: {error}"
    if mutant.new == mutant.old or not mutant.tests:
        yield f"{mutant.name}: changes nothing, or names no test"
    for test in mutant.tests:
        file, _, name = test.partition("::")
        if not (ROOT / file).is_file() or (name and name not in functions_of(file)):
            yield f"{mutant.name}: {test} is not there"


@pytest.mark.parametrize("room", mutants.rooms())
def test_every_line_to_break_and_every_test_for_it_are_there(room: str) -> None:
    problems = [problem for mutant in mutants.load([room]) for problem in problems_of(mutant)]
    assert not problems, "\n".join(problems)


def test_there_are_enough_mutants_in_every_room() -> None:
    assert len(MUTANTS) >= FEWEST
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    covered = {Path(mutant.file).parts[0] for mutant in MUTANTS if "/" in mutant.file}
    assert rooms - covered == set()


def test_a_mutant_is_listed_in_the_room_of_its_file() -> None:
    for mutant in MUTANTS:
        room = mutant.file.partition("/")[0] if "/" in mutant.file else ""
        assert mutant.room == room or (mutant.room in ROOF and room in ("", "cli"))


@pytest.mark.slow
def test_a_breakage_is_killed_survives_is_stale_or_proves_nothing(tmp_path: Path) -> None:
    """In a process of its own: the package must not be imported where processes are forked."""
    test = "tests/test_errors.py::test_each_error_has_its_exit_code"
    code = f"""
from tests.mutants import runner
from tests.mutants.mutants import Mutant
here, nowhere = ({test!r},), ("tests/test_errors.py::test_nothing",)
changes = [("exit_code = 3", "exit_code = 9", here), ("exit_code = 4", "exit_code = 4  # the same", here),
           ("exit_code = 77", "exit_code = 78", here), ("exit_code = 5", "exit_code = 6", nowhere)]
found = [Mutant(room="ground", file="errors.py", old=old, new=new, tests=tests) for old, new, tests in changes]
runner.set_threads()
runner.LIBRARIES = ("pytest", "hypothesis", "pydantic")  # what these tests import
states = {{result.mutant.old: result.state for result in runner.run(found, jobs=2, timeout_s=120)}}
print(sorted(states.items()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250)
    expected = [
        ("exit_code = 3", "killed"),
        ("exit_code = 4", "survived"),
        ("exit_code = 5", "broken"),
        ("exit_code = 77", "stale"),
    ]
    assert done.stdout.splitlines()[-1:] == [str(expected)], done.stderr


def test_the_exit_code_of_pytest_decides() -> None:
    assert [runner.state_of(code) for code in (0, 1, 2, 4, 70, 124)] == [
        "survived", "killed", "broken", "broken", "broken", "killed",
    ]  # fmt: skip
