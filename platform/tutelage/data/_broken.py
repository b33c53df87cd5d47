"""Several files read one after another, and folders of a cache: what cannot be read is named in one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tutelage.errors import InputError

SHOWN = 20  # errors that are listed
T = TypeVar("T")


def attempt(read: Callable[[], T]) -> T | InputError:
    """Return what `read` returns, or the `InputError` that it raises."""
    try:
        return read()
    except InputError as error:
        return error


def read_all(
    reads: Sequence[Callable[[], T]], also: Sequence[Callable[[], object]] = (), *, before: Sequence[object] = (),
    what: str = "files",
) -> list[T]:  # fmt: skip
    """Return what each of `reads` returns, in order.

    If one fails, or one of `before`, which `attempt` returned, is an error, those in `also` are tried too, whose results are
    not needed otherwise. All that failed are in one error.
    """
    found = [attempt(read) for read in reads]
    if wrong := errors_in([*before, *found]):
        wrong += errors_in(attempt(read) for read in also)
        raise all_in_one(wrong, len(before) + len(reads) + len(also), what)
    return [one for one in found if not isinstance(one, InputError)]


def of_cache(entry: Path, read: Callable[[], T]) -> T:
    """Return what `read` returns of a cache's folder `entry`. Raises `InputError` for a folder that is damaged."""
    try:
        return read()
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"{entry}: the cached examples are damaged ({error}). Remove this folder, and run it again."
        ) from error


def errors_in(found: Iterable[object]) -> list[InputError]:
    """Return the errors among results."""
    return [one for one in found if isinstance(one, InputError)]


def all_in_one(wrong: Sequence[InputError], count: int, what: str) -> InputError:
    """Return one error for all that is `wrong` among `count` files: the error itself if it is the only one."""
    if len(wrong) == 1:
        return wrong[0]
    more = [f"and {len(wrong) - SHOWN:,} more"] if len(wrong) > SHOWN else []
    listed = [str(error).replace("\n", "\n  ") for error in wrong[:SHOWN]] + more
    return InputError("\n  ".join([f"{len(wrong):,} of {count:,} {what} cannot be read:", *listed]))
