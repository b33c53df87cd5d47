"""The programs that were exported with a storage, by their SHA-256: these may be loaded again without further trust."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tutelage.storage import open_storage

_KEY = "programs.sha256"


def record(storage: Path, sha256: str) -> None:
    """Record that a program was exported with `storage`; without a storage nothing is recorded."""
    if storage.is_dir():
        open_storage(storage).append(_KEY, sha256)


def recorded(storage: Path) -> Collection[str]:
    """Return the SHA-256 of every program that was exported with `storage`."""
    return frozenset(open_storage(storage).lines(_KEY))
