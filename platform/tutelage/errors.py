"""What can go wrong, as the user meets it; each error knows the command line's exit code.

TutelageError               1
├── InputError              2   a spec, an option or a file is wrong
│   └── SpecError           2   all problems of a spec at once
├── UnreachableError        3   cluster, MLflow or storage is out of reach
├── NoStudentFits           4   no student meets the constraints
├── NotPromoted             5   a student did not take the champion's place, and had to
└── WorkFailed              1   the work itself failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN_CHARS = 120  # of a value given; a whole section would hide why it is wrong


class TutelageError(Exception):
    """Any error that a user can do something about; the message says what, where, why and the way out."""

    exit_code = 1


class InputError(TutelageError):
    """Something given is wrong: a spec, an option, a file."""

    exit_code = 2


class UnreachableError(TutelageError):
    """Something that the work needs does not answer: the cluster, MLflow, the storage."""

    exit_code = 3


class NoStudentFits(TutelageError):
    """No student meets the constraints; the message names the nearest."""

    exit_code = 4


class NotPromoted(TutelageError):
    """A selected student is not better than the present champion, and the caller asked for one that is."""

    exit_code = 5


class WorkFailed(TutelageError):
    """The work was right to begin and did not succeed."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a spec: the dotted path, the line (None: from an option), the value given, why, the way out."""

    path: str
    line: int | None
    value: Any
    why: str
    hint: str = ""

    def __str__(self) -> str:
        where = f":{self.line}" if self.line is not None else ""
        return f"{where}  {self.path} = {_short(self.value)}\n    {self.why}{self.hint}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


class SpecError(InputError):
    """All problems of one spec."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source, self.problems = source, list(problems)
        super().__init__("\n".join(f"{source}{problem}" for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known word most like `word`, or "" if none is like it."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
