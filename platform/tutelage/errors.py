"""The errors that users see, each with the exit code of the command line.

TutelageError               1
├── InputError              2   a spec, an option or a file is wrong
│   └── SpecError           2   all problems of a spec at once
├── UnreachableError        3   the cluster, MLflow or the storage cannot be reached
├── NoStudentFits           4   no student meets the constraints
├── NotPromoted             5   a promotion was required, and the student is not better than the champion
└── WorkFailed              1   the work itself failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN_CHARS = 120  # longer values are cut, so that the reason stays visible


class TutelageError(Exception):
    """Base of all errors that a user can resolve. The message states what is wrong, where, why, and the way out."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the fields, whatever arguments made them: a worker's error is raised again in the driver."""
        return _made_again, (type(self), self.args, vars(self))


def _made_again(kind: type[TutelageError], args: tuple[Any, ...], own: dict[str, Any]) -> TutelageError:
    error = kind.__new__(kind, *args)
    vars(error).update(own)
    return error


class InputError(TutelageError):
    """A spec, an option or a file is wrong."""

    exit_code = 2


class UnreachableError(TutelageError):
    """The cluster, MLflow or the storage cannot be reached."""

    exit_code = 3


class NoStudentFits(TutelageError):
    """No student meets the constraints; the message names the student that comes nearest."""

    exit_code = 4


class NotPromoted(TutelageError):
    """The selected student is not better than the present champion, and the caller required a promotion."""

    exit_code = 5


class WorkFailed(TutelageError):
    """The input was right and the work failed."""


@dataclass(frozen=True)
class Problem:
    """One problem of a spec: dotted path, line (None: set by an option), value, reason, and the way out."""

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
    """Return " Did you mean 'x'?" for the word of `known` that is most similar to `word`; "" if none is similar."""
    close = difflib.get_close_matches(str(word), [one for one in known if one != word], n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, separated by commas, and an ellipsis if there are more than `most`."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, which may have many; the error's type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
