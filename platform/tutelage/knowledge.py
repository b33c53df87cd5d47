"""What a teacher knows of a data set, computed once and memory-mapped by every trial on a node.

A cache entry is a directory named by its content address: one `.npy` of logits `[views, n, steps, classes]` a split, and
a manifest with their SHA-256. It is written beside its place and renamed, so an entry that is there is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import TutelageError
from tutelage.files import sha256_of, write_json

MANIFEST = "manifest.json"


class CorruptKnowledge(TutelageError):
    """A cache entry whose bytes are not those that were written."""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """A teacher's label sequences: `logits[split]` is `[views, n, steps, classes]`, row i of a view being example i."""

    address: str
    logits: Mapping[str, Tensor]

    @property
    def num_views(self) -> int:
        """How many views of every training example there are."""
        return len(self.logits["train"])


def content_address(**parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts` (JSON values)."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(root: Path, address: str, logits: Mapping[str, Sequence[Callable[[], Tensor]]], dtype: str) -> Path:
    """Store logits under `root/address` as `dtype` (float16 or float32) and return the entry; atomic.

    A split has one callable a view, which gives `[n, steps, classes]`; one view at a time is in memory.
    Values beyond float16's range are clipped to it: a logit of ±65,504 is certainty already.
    """
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{address}-", dir=root))
    try:
        files = {}
        for split, views in logits.items():
            _write_views(draft / f"{split}.npy", views, dtype)
            files[split] = sha256_of(draft / f"{split}.npy")
        write_json(draft / MANIFEST, {"version": 1, "address": address, "sha256": files})
        move_into_place(draft, root / address)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return root / address


def _write_views(path: Path, views: Sequence[Callable[[], Tensor]], dtype: str) -> None:
    limits, stored = np.finfo(dtype), None
    for number, view in enumerate(views):
        tensor = view()
        if stored is None:
            stored = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(len(views), *tensor.shape))
        stored[number] = np.clip(tensor.numpy(), limits.min, limits.max)
    assert stored is not None, "knowledge has at least one view"
    stored.flush()


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
        damaged = [s for s, digest in manifest["sha256"].items() if sha256_of(entry / f"{s}.npy") != digest]
    except (OSError, ValueError, KeyError) as error:
        raise CorruptKnowledge(f"{entry}: unreadable ({error}).") from error
    if damaged or manifest["address"] != address:
        raise CorruptKnowledge(f"{entry}: {', '.join(damaged) or MANIFEST} is not what was written.")
    return Knowledge(address=address, logits={split: _mapped(entry / f"{split}.npy") for split in manifest["sha256"]})


def _mapped(path: Path) -> Tensor:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        return torch.from_numpy(array)
