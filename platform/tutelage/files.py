"""Files: written whole or not at all, read as text, their checksums, and whether they exist."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tutelage.errors import InputError, nearest

_LONGEST_NAME_BYTES = 255  # of a file or a directory


def write_atomically(path: Path, data: bytes | str) -> None:
    """Put `data` (text as UTF-8) at `path`: a temporary file beside it, flushed to the disk, then renamed over it."""
    content = data.encode() if isinstance(data, str) else data
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def write_json(path: Path, document: Any) -> None:
    """Put `document` at `path` as strict, indented JSON, atomically; NaN and infinity raise `ValueError`."""
    write_atomically(path, strict_json(document))


def strict_json(document: Any) -> str:
    """Return `document` as strict, indented JSON; NaN and infinity raise `ValueError`."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def read_text(path: Path) -> str:
    """Return the text of a file that a user gave, without a byte order mark; every line ends with a line feed.

    Raises `InputError` for a file that is not UTF-8 or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start:,}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file as `read_text` does, none for an empty file.

    Only line feeds end a line: other separators, such as U+2028, may stand within a text.
    """
    text = read_text(path)
    return text.removesuffix("\n").split("\n") if text else []


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(path: str | Path) -> Path:
    """Return a path that a user gave, `~` resolved; `InputError` for one that no file of this machine can have.

    That is an unknown user's `~name`, a name of more than 255 bytes, or a zero byte.
    """
    if "\0" in str(path):
        raise InputError(f"the path {str(path)!r} holds a zero byte, which no file's name has. Remove it.")
    try:
        found = Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: this machine has no home directory for it. Write the path without '~'.") from None
    if long := [part for part in found.parts if len(os.fsencode(part)) > _LONGEST_NAME_BYTES]:
        raise InputError(
            f"{long[0][:20]}…: a name of {len(os.fsencode(long[0])):,} bytes; {_LONGEST_NAME_BYTES} is the most. Shorten it."
        )
    return found


def existing(path: str) -> Path:
    """Return the file or folder at `path`, `~` resolved; `InputError` if it is not there, with the nearest name beside it."""
    found = expanded(path).absolute()
    if found.is_file() or found.is_dir():
        return found
    if found.exists():
        raise InputError(f"{found}: is neither a file nor a folder.")
    parent = found.parent
    if not parent.is_dir():
        raise InputError(f"{found}: not there; nor is {parent}, on this machine. Is 'path' right?")
    raise InputError(f"{found}: not there, on this machine.{nearest(found.name, (item.name for item in parent.iterdir()))}")


def existing_folder(path: str) -> Path:
    """Return the folder at `path` as `existing` does; `InputError` for a file."""
    found = existing(path)
    if not found.is_dir():
        raise InputError(f"{found}: is a file. Give a folder, perhaps {found.parent}.")
    return found


def content_address(**parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts` (JSON values)."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
