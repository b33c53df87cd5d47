"""Environment variables set for the time of a block, for libraries that have no other setting."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def set_to(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set this process's environment variables within the block; then they are as they were before it."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
