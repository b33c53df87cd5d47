"""The plan of a sweep's knowledge: its teachers, the compared parts of their outputs, and their cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tutelage.networks.output import Need
from tutelage.storage import Storage
from tutelage.training import knowledge_cache


@dataclass(frozen=True, kw_only=True)
class KnowledgePlan:
    """The teachers, the compared parts of their outputs, and the cache of these outputs.

    `teachers` are keys in `storage` with a share each. With the key of a `cache` entry, the outputs for `views` views of every
    example are in it, or are written there on first use. Without a `cache`, the teachers run during each student's training
    (`live`), and 0 `views` means a new view every epoch. `top_k` is the number of cached classes of a label sequence (0: all),
    for one `temperature` or for any (None). `samples` is the number of classes drawn from it in place of its logits (0: none).
    """

    storage: Storage
    teachers: tuple[tuple[str, float], ...]
    needs: frozenset[Need] = frozenset()
    layers: tuple[str, ...] | None = None
    views: int = 1
    cache: str | None = None
    dtype: str = "float16"
    top_k: int = 0
    temperature: float | None = None
    samples: int = 0
    local_dir: Path | None = None

    @property
    def entry(self) -> knowledge_cache.Entry | None:
        """The cache entry; None for live teachers."""
        return knowledge_cache.Entry(self.storage.within(self.cache)) if self.cache else None

    def teacher_paths(self) -> list[Path]:
        """Return the directories from which the teachers are read on this machine."""
        return [self.storage.local_path(key) for key, _ in self.teachers]

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON values, which `planned` reads. The storage is left out, so that it may be moved."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "storage"}
        return {**own, "local_dir": self.local_dir and str(self.local_dir), "needs": sorted(self.needs)}


def planned(document: Mapping[str, Any], storage: Storage) -> KnowledgePlan:
    """Return the plan stored by `KnowledgePlan.document` in this storage."""
    return KnowledgePlan(**{
        **document, "storage": storage, "local_dir": document["local_dir"] and Path(document["local_dir"]),
        "needs": frozenset(document["needs"]), "layers": tuple(document["layers"]) if document["layers"] else None,
        "teachers": tuple((key, share) for key, share in document["teachers"]),
    })  # fmt: skip
