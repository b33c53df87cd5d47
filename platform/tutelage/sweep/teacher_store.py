"""Teachers in a storage, by their content addresses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.files import write_json
from tutelage.networks import checkpoint
from tutelage.spec.spec import Spec
from tutelage.storage import open_storage

ABOUT = "teacher.json"


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained teacher in the storage: its directory, content address and measures.

    `source` describes the data that it was trained on first, if any: `data`, and `quality`, the primary measure on validation.
    """

    directory: Path  # on this machine, to read it from
    address: str
    measures: dict[str, float]
    curve: tuple[dict[str, float], ...] = ()
    reused: bool = False
    source: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """The teacher's place in the storage."""
        return key_of(self.address)


def key_of(address: str) -> str:
    """Return the place in a storage of the teacher with that address."""
    return f"teachers/{address}"


def stored_teacher(spec: Spec, address: str) -> Teacher | None:
    """Return the teacher with this address in the spec's storage; None if there is none, or if its description is damaged."""
    directory = place_of(spec, address)
    try:
        about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))
        return Teacher(
            directory=directory, address=address, measures=dict(about["measures"]), curve=tuple(about["curve"]),
            reused=True, source=about.get("source"),
        )  # fmt: skip
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def place_of(spec: Spec, address: str) -> Path:
    """Return the directory on this machine from which the teacher with this address is read; it need not exist."""
    return open_storage(spec.storage).local_path(key_of(address))


def store_teacher(spec: Spec, address: str, model: nn.Module, architecture: dict[str, Any], about: dict[str, Any]) -> Path:
    """Write a teacher into the spec's storage, replacing an earlier one; return the directory to read it from."""
    with open_storage(spec.storage).draft(key_of(address), existing="replace") as draft:
        checkpoint.write(draft, model, architecture)
        write_json(draft / ABOUT, {"version": 1, **about})
    return place_of(spec, address)
