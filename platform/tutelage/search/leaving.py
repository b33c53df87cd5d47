"""The end of a search whose storage cannot be written, or whose sampler or rule fails: the search ends, no trial fails."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from ray.tune import TuneError

from tutelage.errors import InputError, TutelageError
from tutelage.storage import StorageFailed

P = ParamSpec("P")
R = TypeVar("R")


_REASON = re.compile(r"No space left on device|Read-only file system|Disk quota exceeded|storage .* cannot be written")


class _Left(BaseException):
    """Carries an error of the search through Tune, which treats an `Exception` of a handler as a failure of the trial."""

    def __init__(self, error: TutelageError) -> None:
        super().__init__(str(error))
        self.error = error


def through_tune(handler: Callable[P, R]) -> Callable[P, R]:
    """Return a handler of Tune's events whose `StorageFailed` or `InputError` ends the search instead of the trial."""

    @functools.wraps(handler)
    def raising(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return handler(*arguments, **named)
        except (StorageFailed, InputError) as error:
            raise _Left(error) from None

    return raising


@contextmanager
def leaving(storage: str) -> Iterator[None]:
    """Raise `StorageFailed` for an error in the block whose cause is that `storage` cannot be written."""
    try:
        yield
    except _Left as left:
        raise left.error from None
    except (OSError, TuneError) as error:
        if why := reason_of(str(error)):
            raise StorageFailed(storage, why) from error
        raise


def reason_of(error: str) -> str:
    """Return why the storage cannot be written, if an error or a traceback names that; "" otherwise."""
    found = _REASON.search(error)
    return found[0] if found else ""
