from __future__ import annotations

import pickle

import pytest

from tutelage.errors import InputError, NoStudentFits, Problem, SpecError, TutelageError, UnreachableError, WorkFailed, nearest
from tutelage.storage import LeaseHeld, StorageFailed


@pytest.mark.parametrize(
    ("error", "code"),
    [(TutelageError, 1), (InputError, 2), (SpecError, 2), (UnreachableError, 3), (NoStudentFits, 4), (WorkFailed, 1)],
)
def test_each_error_has_its_exit_code(error: type[TutelageError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, TutelageError)


def test_a_spec_error_prints_one_block_for_each_problem() -> None:
    problems = [
        Problem("student.epoch", 12, 20, "unknown key.", " Did you mean 'epochs'?"),
        Problem("--set seed", None, -1, "Input should be at least 0."),
    ]
    error = SpecError("digits.yaml", problems)
    assert str(error) == (
        "digits.yaml:12  student.epoch = 20\n    unknown key. Did you mean 'epochs'?\n"
        "digits.yaml  --set seed = -1\n    Input should be at least 0."
    )
    assert error.problems == problems


@pytest.mark.parametrize(
    "error",
    [
        InputError("no"),
        SpecError("a.yaml", [Problem("seed", 1, 2, "no")]),
        StorageFailed("here", "full"),
        LeaseHeld("a", "you"),
    ],
)
def test_an_error_of_a_worker_is_the_same_in_the_driver(error: TutelageError) -> None:
    error.add_note("on a node")
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error) and str(arrived) == str(error) and vars(arrived) == vars(error)


def test_a_long_value_is_cut() -> None:
    shown = str(Problem("student", 1, list(range(1000)), "is wrong."))
    assert len(shown.splitlines()[0]) < 150
    assert "…" in shown


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("epoch", ["epochs", "batch_size"], " Did you mean 'epochs'?"),
        ("zzz", ["epochs"], ""),
        ("epochs", [], ""),
    ],
)
def test_nearest(word: str, known: list[str], hint: str) -> None:
    assert nearest(word, known) == hint
