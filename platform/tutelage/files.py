"""Files written whole or not at all, their checksums, and whether they are there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tutelage.errors import InputError, nearest


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


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def existing(path: str) -> Path:
    """Return the file or folder at `path`, `~` resolved; `InputError` if it is not there, with the nearest name beside it."""
    found = Path(path).expanduser().absolute()
    if found.is_file() or found.is_dir():
        return found
    if found.exists():
        raise InputError(f"{found}: is neither a file nor a folder.")
    parent = found.parent
    if not parent.is_dir():
        raise InputError(f"{found}: not there; nor is {parent}, on this machine. Is 'path' right?")
    raise InputError(f"{found}: not there, on this machine.{nearest(found.name, (item.name for item in parent.iterdir()))}")


def content_address(**parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts` (JSON values)."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
