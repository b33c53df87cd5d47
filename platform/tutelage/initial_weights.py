"""Whether a network is built only to get weights that lie in a file: then it needs none of the package that it started from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_REPLACED = ContextVar("replaced", default=False)


def are_replaced() -> bool:
    """Return whether the initial weights of the networks that are built now are replaced by others."""
    return _REPLACED.get()


@contextmanager
def replaced() -> Iterator[None]:
    """Build networks within a block without the weights of other packages, which those of a file replace."""
    token = _REPLACED.set(True)
    try:
        yield
    finally:
        _REPLACED.reset(token)
