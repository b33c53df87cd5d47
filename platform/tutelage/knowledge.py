"""What a teacher knows of a data set, computed once and memory-mapped by every trial on a node.

A cache entry is a directory named by its content address, with an `.npy` for each part of what is known and a manifest with
their SHA-256. Parts are the label sequence `logits` `[views, n, steps, classes]` and, of each stage that is asked for,
`features.<stage>` `[views, n, positions, channels]` and `maps.<stage>` `[views, n, positions]`. An entry is written beside
its place and renamed, so one that is there is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.files import sha256_of, write_json
from tutelage.losses import Outline, Stage

MANIFEST = "manifest.json"
View = Callable[[], Mapping[str, Tensor]]


class CorruptKnowledge(TutelageError):
    """A cache entry whose bytes are not those that were written."""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What a teacher knows: `parts[split][part]` is `[views, n, …]`, row i of a view being example i; and its outline."""

    address: str
    parts: Mapping[str, Mapping[str, Tensor]]
    outline: Outline

    @property
    def num_views(self) -> int:
        """How many views of every training example there are."""
        return len(self.parts["train"]["logits"])


def content_address(**parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts` (JSON values)."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(root: Path, address: str, views: Mapping[str, Sequence[View]], outline: Outline, dtype: str) -> Path:
    """Store what is known under `root/address` as `dtype` (float16 or float32) and return the entry; atomic.

    A split has one callable a view, which gives its parts, each `[n, …]`; one view at a time is in memory. Values beyond
    float16's range are clipped to it: a logit of ±65,504 is certainty already.
    """
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{address}-", dir=root))
    try:
        for split, those in views.items():
            _write_views(draft / split, those, dtype)
        digests = {f"{path.parent.name}/{path.stem}": sha256_of(path) for path in sorted(draft.glob("*/*.npy"))}
        write_json(draft / MANIFEST, {"version": 2, "address": address, "sha256": digests, "outline": asdict(outline)})
        move_into_place(draft, root / address)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return root / address


def _write_views(directory: Path, views: Sequence[View], dtype: str) -> None:
    directory.mkdir()
    limits, stored = np.finfo(dtype), dict[str, Any]()
    for number, view in enumerate(views):
        for part, tensor in view().items():
            if number == 0:
                shape = (len(views), *tensor.shape)
                path = directory / f"{part}.npy"
                stored[part] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            stored[part][number] = np.clip(tensor.numpy(), limits.min, limits.max)
    for array in stored.values():
        array.flush()


def move_into_place(draft: Path, place: Path) -> None:
    """Put the directory `draft` at `place`; one that is there already is moved aside whole before it is removed."""
    if place.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent)) / "old"
        place.rename(aside)
        draft.rename(place)
        shutil.rmtree(aside.parent, ignore_errors=True)
    else:
        draft.rename(place)


def read(root: Path, address: str) -> Knowledge | None:
    """Return the entry at `root/address`, memory-mapped; None if there is none; `CorruptKnowledge` on a wrong checksum."""
    entry = root / address
    if not (entry / MANIFEST).exists():
        return None
    try:
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        damaged = [name for name, digest in manifest["sha256"].items() if sha256_of(entry / f"{name}.npy") != digest]
        outline = _outline(manifest["outline"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptKnowledge(f"{entry}: unreadable ({error}).") from error
    if damaged or manifest["address"] != address:
        raise CorruptKnowledge(f"{entry}: {', '.join(damaged) or MANIFEST} is not what was written.")
    parts: dict[str, dict[str, Tensor]] = {}
    for name in manifest["sha256"]:
        split, _, part = name.partition("/")
        parts.setdefault(split, {})[part] = _mapped(entry / f"{name}.npy")
    return Knowledge(address=address, parts=parts, outline=outline)


def _outline(saved: Mapping[str, Any]) -> Outline:
    return Outline(
        classes=saved["classes"],
        stages=tuple(Stage(**{**stage, "grid": tuple(stage["grid"])}) for stage in saved["stages"]),
        weights={name: tuple(shape) for name, shape in saved["weights"].items()},
    )


def _mapped(path: Path) -> Tensor:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        return torch.from_numpy(array)
