"""Code of a user's own: what it raises becomes an error that names the plugin and the line."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar, cast

from tutelage.errors import InputError, TutelageError

T = TypeVar("T")
_SHOWN_CHARS = 300
_PACKAGE = Path(__file__).parent


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Raise what a user's code raises in the block as an `InputError` about `what`; errors of the package stay as they are.

    What it prints goes to stderr: stdout has the result of a command.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except TutelageError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{what} fails: {reason(error)}.") from error


def blamed_calls(own: T, what: str) -> T:
    """Return an object of a user's own whose methods raise as in a block of `blamed`."""
    return cast(T, _Blamed(own, what))


class _Blamed:
    def __init__(self, own: Any, what: str) -> None:
        self._own, self._what = own, what

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            with blamed(f"{self._what}: {name}"):
                return getattr(self._own, name)(*arguments, **named)

        return call


def reason(error: BaseException) -> str:
    """Return an exception in a line: its type, the beginning of its message, and where in the user's code it was raised."""
    text = " ".join(str(error).split())
    short = text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_installed(frame.filename)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {short}".rstrip(" :.") + where


def _is_installed(file: str) -> bool:
    return Path(file).is_relative_to(_PACKAGE) or "site-packages" in file or file.startswith("<")
