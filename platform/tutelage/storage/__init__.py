"""Storage: where a sweep keeps its files, behind four verbs that an object store has as well.

The verbs are put (whole), append (a line), list and lease. A file of this room is one kind of storage, found by the scheme of
its URI: `local.py` serves plain paths, and `s3.py` would serve `s3://bucket/prefix`. Each has `connect(uri)`, and
`scratch(directory)`, a storage to test it with.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol

from tutelage.errors import InputError, TutelageError, UnreachableError, nearest
from tutelage.files import expanded

PATIENCE_S, PAUSE_S = 60.0, 0.5  # how long a storage that cannot be written is waited for, and between two attempts


Existing = Literal["keep", "replace", "refuse"]  # what becomes of a directory that stands where a draft is to be put


class LeaseHeld(TutelageError):
    """A lease that another process holds; `holder` names it."""

    def __init__(self, key: str, holder: str) -> None:
        super().__init__(f"{key} is held by {holder}.")
        self.holder = holder


class StorageFailed(UnreachableError):
    """A storage that cannot be written: it is full, read-only, or somebody else's."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(f"storage {uri} cannot be written: {why}. Make room or give access, or set another `storage`.")


class StorageDenied(UnreachableError):
    """A storage that this user may not read: it is somebody else's, who has not shared it."""

    def __init__(self, uri: str, why: str) -> None:
        super().__init__(f"storage {uri} cannot be read: {why}. Ask its owner for access, or name another storage.")


class Storage(Protocol):
    """Files under one URI. Keys are relative paths with `/`; directories exist because something lies in them.

    Two of the same URI are equal. A storage can be pickled: in another process, on any node, it is the same one. Every verb
    that writes raises `StorageFailed` where the storage cannot be written; `lines` and `list` raise `StorageDenied` where this
    user may not read it.
    """

    uri: str

    def check(self) -> None:
        """Raise `StorageFailed` if nothing can be written. A storage that is not there is made, for its owner alone."""
        ...

    def within(self, key: str) -> Storage:
        """Return the storage of what lies below `key`."""
        ...

    def put(self, key: str, data: bytes | str) -> None:
        """Write a whole file (text as UTF-8); a reader sees the old content or the new one."""
        ...

    def draft(self, key: str, *, existing: Existing = "keep") -> AbstractContextManager[Path]:
        """Give an empty local directory to fill within the block; at its end it becomes the directory `key`, whole.

        If the block raises, nothing is left. `existing` is for a directory that is there by then: it is kept (for content
        addresses, under which both are equal), replaced, or an `OSError` is raised. Drafts of processes that
        died are removed.
        """
        ...

    def append(self, key: str, line: str, *, durable: bool = True) -> None:
        """Add one line to a file that any number of processes append to; a last line that a crash cut short is removed first.

        When it returns, the line survives this process, and with `durable` a power cut too. If it raises `StorageFailed`, the
        file is as it was.
        """
        ...

    def lines(self, key: str) -> list[str]:
        """Return the whole lines of a file, without their ends; none if there is no file.

        Bytes that are not UTF-8 are kept as lone surrogates, so that a reader can say which line is damaged.
        """
        ...

    def list(self, key: str = "") -> list[str]:
        """Return the names of the files and directories directly below `key`, sorted; drafts and leases are not among them."""
        ...

    def lease(self, key: str, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the exclusive lease `key` within the block; it is released when this process ends, whatever ends it.

        If another process holds it, `wait` for it, or raise `LeaseHeld`.
        """
        ...

    def holder(self, key: str) -> str | None:
        """Return which process holds a lease, in words; None if nobody does."""
        ...

    def remove(self, key: str) -> None:
        """Remove a file or a directory; nothing happens if it is not there."""
        ...

    def local_path(self, key: str) -> Path:
        """Return a path on this machine from which `key` can be read and memory-mapped; a remote file is copied to it.

        Of a key that is not there, the path is not there either. What is written to it may not reach the storage.
        """
        ...

    def writable_path(self, key: str) -> Path:
        """Return an absolute path on this machine for a library that writes files by itself: Ray's runs, SQLite, journals.

        It is the place of `key` in a storage that is a directory. In a remote one it is a directory of this machine, which no
        other node sees and whose files are not put into the storage.
        """
        ...


def until_written(write: Callable[[], None], say: Callable[[str], None]) -> None:
    """Call `write` until it succeeds, for a storage that is full or read-only for a while.

    The first `StorageFailed` is passed to `say`; one after `PATIENCE_S` seconds is raised.
    """
    deadline_s, has_failed = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            return write()
        except StorageFailed as error:
            if time.monotonic() > deadline_s:
                raise
            if not has_failed:
                say(f"{error} Waiting for that, {PATIENCE_S:g} s at most.")
            has_failed = True
            time.sleep(PAUSE_S)


@contextmanager
def lease_in_turn(storage: Storage, key: str, say: Callable[[str], None], what: str) -> Iterator[None]:
    """Hold a lease within the block. If another process holds it, say that it is at work on `what`, and wait for it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(storage.lease(key))
        except LeaseHeld as held:
            say(f"{held.holder} is at work on {what}; waiting for it")
            stack.enter_context(storage.lease(key, wait=True))
        yield


def as_directory(place: str | Path) -> str:
    """Return the path of a sweep's storage, with `~` resolved.

    Raises `InputError` for a URI, also one that `Path` has made of it (`s3:/bucket`). What `writable_path` is for, such as
    Ray's runs and the sampler's journal, must be on a disk that all nodes share, and only the storage `local` offers one.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(place)):
        raise InputError(
            f"storage {place} is a URI. A sweep's storage is a directory that all nodes share: mount it and name its path."
        )
    return str(expanded(place))


def schemes() -> list[str]:
    """Return the kinds of storage there are, by the names of their files."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def open_storage(uri: str | Path) -> Storage:
    """Return the storage at a URI, or at a plain path; `InputError` for a scheme that no file of this room serves."""
    scheme, separator, _ = str(uri).partition("://")
    kind = scheme if separator else "local"
    if kind not in schemes():
        raise InputError(f"storage {uri}: no storage '{kind}'.{nearest(kind, schemes())} Known: {', '.join(schemes())}.")
    storage: Storage = importlib.import_module(f"tutelage.storage.{kind}").connect(str(uri))
    return storage
