"""Files that a user names on the command line: a file, a link, a pipe or a device; every mistake is an `InputError`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tutelage.errors import InputError, UnreachableError
from tutelage.files import expanded, write_atomically

_MISTAKES = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def write_output(path: Path, data: bytes | str) -> None:
    """Put `data` (text as UTF-8) where a user wants it.

    A new or a plain file is written whole or not at all, and keeps its mode. A link stays a link: what it points to is
    written. A pipe, a device, and a file with several names or in a directory that takes no new file are written through.
    Raises `InputError` for a directory and a path whose directory is not there, `UnreachableError` where writing fails.
    """
    content = data.encode() if isinstance(data, str) else data
    place = expanded(path)
    try:
        _write(_target(place), content)
    except _MISTAKES as error:
        raise InputError(f"{path} cannot be written: {_why(place, error)}. Name another file.") from error
    except OSError as error:
        raise UnreachableError(f"{path} cannot be written: {error.strerror or error}.") from error


def _target(path: Path) -> Path:
    """Return the file at the end of links; `/dev/stdout` and what else is no plain file stays as it is."""
    if path.exists() and not path.is_file():
        return path
    try:
        return path.resolve()
    except RuntimeError as error:  # Python 3.11 and 3.12 raise it for links in a circle
        raise FileNotFoundError(str(error)) from error


def _write(path: Path, content: bytes) -> None:
    if not path.exists():
        write_atomically(path, content)
        os.chmod(path, 0o666 & ~_umask())
        return
    about = path.stat()
    if stat.S_ISREG(about.st_mode) and about.st_nlink == 1 and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        write_atomically(path, content)
        os.chmod(path, stat.S_IMODE(about.st_mode))
    else:
        with path.open("wb", buffering=0) as file:
            _write_all(file.fileno(), content)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _why(path: Path, error: OSError) -> str:
    missing = next((one for one in reversed(path.absolute().parents) if not one.is_dir()), None)
    if missing is not None:
        return f"{missing} is not a directory" if missing.exists() else f"there is no directory {missing}"
    return "it is a directory" if path.is_dir() else (error.strerror or str(error))
