"""The programs that were exported with a storage, by their SHA-256: these may be loaded again without further trust."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tutelage.storage import open_storage

_KEY = "programs.sha256"


def record(storage: str | Path, sha256: str) -> None:
    """Record that a program was exported with `storage`; without a storage nothing is recorded."""
    place = open_storage(storage)
    if place.writable_path("").is_dir():  # one that somebody made and that is still empty, too
        place.append(_KEY, sha256)


def recorded(storage: str | Path) -> Collection[str]:
    """Return the SHA-256 of every program that was exported with `storage`."""
    return frozenset(open_storage(storage).lines(_KEY))
