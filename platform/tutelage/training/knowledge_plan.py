"""The plan of a sweep's knowledge: its teachers, the compared parts of their outputs, and their cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.networks.output import Need
from tutelage.training import knowledge_cache


@dataclass(frozen=True, kw_only=True)
class KnowledgePlan:
    """The teachers, the compared parts of their outputs, and the cache of these outputs.

    `teachers` are directories with a share each. With a `directory`, the outputs for `views` views of every example are in
    that cache entry, or are written there on first use. Without a `directory`, the teachers run during each student's training
    (`live`), and 0 `views` means a new view every epoch. `top_k` is the number of cached classes of a label sequence (0: all).
    """

    teachers: tuple[tuple[Path, float], ...]
    needs: frozenset[Need] = frozenset()
    layers: tuple[str, ...] | None = None
    views: int = 1
    directory: Path | None = None
    dtype: str = "float16"
    top_k: int = 0
    local_dir: Path | None = None

    @property
    def entry(self) -> knowledge_cache.Entry | None:
        """The cache entry; None for live teachers."""
        return knowledge_cache.Entry(self.directory) if self.directory else None

    def document(self, storage: Path) -> dict[str, Any]:
        """Return the plan as JSON values, which `planned` reads. Paths are relative to `storage`, so that it may be moved."""

        def relative(path: Path | None) -> str | None:
            return None if path is None else os.path.relpath(path, storage.resolve())

        return {
            **asdict(self), "directory": relative(self.directory), "local_dir": self.local_dir and str(self.local_dir),
            "needs": sorted(self.needs), "teachers": [[relative(directory), share] for directory, share in self.teachers],
        }  # fmt: skip


def planned(document: Mapping[str, Any], storage: Path) -> KnowledgePlan:
    """Return the plan stored by `KnowledgePlan.document` in this storage."""
    root = storage.resolve()
    directory, local_dir = document["directory"], document["local_dir"]
    places = {"directory": directory and root / directory, "local_dir": local_dir and Path(local_dir)}
    layers = tuple(document["layers"]) if document["layers"] else None
    teachers = tuple((root / directory, share) for directory, share in document["teachers"])
    return KnowledgePlan(
        **{**document, **places, "needs": frozenset(document["needs"]), "layers": layers, "teachers": teachers}
    )
