"""A directory on this machine, or on a disk that all nodes share."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tutelage.files import write_atomically
from tutelage.storage import Existing, LeaseHeld, StorageDenied, StorageFailed

_DRAFT, _LEASE, _WRITING = ".draft-", ".lease-", "writing"
_PAUSES_S = (0.0, 0.05, 0.2)  # another process that only looks whether a lease is held has it for less than that
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)  # errors that a caller's block has no part in


def connect(uri: str) -> LocalStorage:
    """Return the storage in the directory `uri`, which need not exist yet."""
    return LocalStorage(uri)


def scratch(directory: Path) -> LocalStorage:
    """Return a storage for tests."""
    return LocalStorage(directory)


class LocalStorage:
    """A directory. Locks are the operating system's (`flock`), so they end with the process that holds them."""

    def __init__(self, uri: str | Path) -> None:
        self._root = Path(uri)
        self.uri = str(self._root)

    def __eq__(self, other: object) -> bool:
        """Return whether `other` is the same directory."""
        return isinstance(other, LocalStorage) and self._root.resolve() == other._root.resolve()

    def __hash__(self) -> int:
        """Return the hash of the directory."""
        return hash(self._root.resolve())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an absolute path: another process may have another working directory."""
        return type(self), (str(self._root.resolve()),)

    def check(self) -> None:
        """Make the directory, for its owner alone if it is not there yet, and write a file for a moment."""
        with self._writing():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=_DRAFT, dir=self._root):  # a name of its own, never a link's
                pass

    def within(self, key: str) -> LocalStorage:
        """Return the storage in the directory of `key`."""
        return LocalStorage(self._root / key)

    def local_path(self, key: str) -> Path:
        """Return the file itself."""
        return self._root / key

    def writable_path(self, key: str) -> Path:
        """Return the absolute path of the file itself; a link at its place is not followed."""
        return self._root.resolve() / key

    def put(self, key: str, data: bytes | str) -> None:
        """Write a whole file."""
        path = self.local_path(key)
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)

    @contextmanager
    def _writing(self, kinds: Sequence[int] = ()) -> Iterator[None]:
        """Turn the operating system's errors, or only those of `kinds`, into `StorageFailed`."""
        try:
            yield
        except OSError as error:
            if kinds and error.errno not in kinds:
                raise
            raise StorageFailed(self.uri, error.strerror or str(error)) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn the operating system's refusal into `StorageDenied`."""
        try:
            yield
        except PermissionError as error:
            raise StorageDenied(self.uri, error.strerror or str(error)) from error

    @contextmanager
    def draft(self, key: str, *, existing: Existing = "keep") -> Iterator[Path]:
        """Give a directory beside the place of `key`; it is renamed to it at the end of the block."""
        place = self.local_path(key)
        with self._writing():
            place.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(place)
            home = Path(tempfile.mkdtemp(prefix=f"{_DRAFT}{place.name}-", dir=place.parent))
        try:
            with self._writing(_OF_THE_DISK), (home / _WRITING).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                content = home / "content"
                content.mkdir()
                yield content
                _move_into_place(content, place, existing)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def append(self, key: str, line: str, *, durable: bool = True) -> None:
        """Add one line while the file is locked against other writers."""
        assert "\n" not in line, "a line"
        path = self.local_path(key)
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(_opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                end = _end_of_whole_lines(file.fileno())
                try:
                    _write_all(file.fileno(), line.encode() + b"\n")
                    if durable:
                        os.fsync(file)
                except OSError:
                    os.ftruncate(file.fileno(), end)
                    raise

    def lines(self, key: str) -> list[str]:
        """Return the whole lines of a file."""
        try:
            with self._reading():
                content = self.local_path(key).read_bytes()
        except FileNotFoundError:
            return []
        return content[: content.rfind(b"\n") + 1].decode(errors="surrogateescape").split("\n")[:-1]

    def list(self, key: str = "") -> list[str]:
        """Return the names below `key`."""
        directory = self.local_path(key)
        with self._reading():
            names = os.listdir(directory) if directory.is_dir() else []
        return sorted(name for name in names if not name.startswith((_DRAFT, _LEASE)))

    @contextmanager
    def lease(self, key: str, *, wait: bool = False) -> Iterator[None]:
        """Hold a lock on a file beside the place of `key`; the file is there for as long as the lease is held."""
        path = self._lease_path(key)
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _locked(path, wait=wait)
            if descriptor is None:
                raise LeaseHeld(key, _words_in(path))
        try:
            with self._writing(_OF_THE_DISK):
                os.ftruncate(descriptor, 0)
                _write_all(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            yield
        finally:
            with suppress(OSError):  # on a disk that has become read-only the file stays; the lock on it ends all the same
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def holder(self, key: str) -> str | None:
        """Return what the holder wrote into the lease's file, if it is locked."""
        path = self._lease_path(key)
        with self._writing():
            try:
                with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
                    return None if _takes(file.fileno(), fcntl.LOCK_SH) else _words_in(path)
            except FileNotFoundError:
                return None

    def _lease_path(self, key: str) -> Path:
        place = self.local_path(key)
        return place.with_name(f"{_LEASE}{place.name}")

    def remove(self, key: str) -> None:
        """Remove a file or a directory."""
        path = self.local_path(key)
        with self._writing():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _move_into_place(draft: Path, place: Path, existing: Existing) -> None:
    if existing == "replace" and place.exists():
        aside = draft.with_name("replaced")
        place.rename(aside)
    try:
        draft.rename(place)  # over an empty directory as well
    except OSError:
        if existing == "refuse" or not place.is_dir():
            raise


def _remove_abandoned(place: Path) -> None:
    """Remove the drafts of `place` whose writers are gone: the operating system has released their locks."""
    for draft in place.parent.glob(f"{_DRAFT}{glob.escape(place.name)}-*"):
        with suppress(FileNotFoundError), (draft / _WRITING).open("rb") as lock:  # not there: it is made or removed just now
            if _takes(lock.fileno(), fcntl.LOCK_EX, pauses_s=(0.0,)):
                shutil.rmtree(draft, ignore_errors=True)


def _end_of_whole_lines(descriptor: int) -> int:
    """Cut off a last line that has no end, and return the file's size."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        size = os.pread(descriptor, size, 0).rfind(b"\n") + 1
        os.ftruncate(descriptor, size)
    return size


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _locked(path: Path, *, wait: bool) -> int | None:
    """Return a descriptor of the locked file at `path`, made if need be; None if another process has it locked."""
    while True:
        descriptor = _opened(path, os.O_RDWR | os.O_CREAT)
        if wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        elif not _takes(descriptor, fcntl.LOCK_EX):
            os.close(descriptor)
            return None
        if _is_still_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last holder removed the file between our opening and our lock


def _opened(path: Path, flags: int) -> int:
    """Return a descriptor of a file of our own; `OSError` for a link, whose target would be overwritten."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.ELOOP, f"{path} is a link, or no file. Remove it")
    return descriptor


def _is_still_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _takes(descriptor: int, kind: int, pauses_s: Sequence[float] = _PAUSES_S) -> bool:
    """Return whether the lock could be taken at once; one that another process has only to look is waited for."""
    for pause_s in pauses_s:
        time.sleep(pause_s)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False


def _words_in(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    return "another process"
