"""The cache of a teacher's outputs for a data set, by view, memory-mapped by every trial on a node.

An entry is a directory named by its content address. It has one directory a view (`train/0003`, `validation/0000`) with an
`.npy` for each part, and a manifest with their SHA-256. Parts are the label sequences `logits.<sequence>` `[n, steps,
classes]` (sparse ones are `classes.`, `gaps.` and perhaps `tails.<sequence>`, see `networks.top_k`, or `drawn.<sequence>`, see
`networks.sampled`), the decoded labels `decoded.<sequence>` `[n, steps]` and, for each compared stage,
`features.<stage>`, `pooled.<stage>`, `maps.<stage>`, `heads.<stage>` and `qkv.<stage>` (see `networks.output`). Parts of
examples of unequal length are stored one after another, without padding. A view is written to a draft and renamed, so a view
that exists is complete. Several workers may write rows of one draft at the same time.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data import SplitName
from tutelage.errors import TutelageError
from tutelage.files import sha256_of, strict_json, write_json
from tutelage.networks.output import Outline, Stage
from tutelage.storage import Storage, lease_in_turn, open_storage
from tutelage.training.knowledge_layout import Layouts, StoredPart, layout_of

MANIFEST, ABOUT, LENGTHS = "manifest.json", "entry.json", "lengths"
Part = Tensor | StoredPart


class CorruptKnowledge(TutelageError):
    """A cached view is damaged: its bytes differ from those that were written."""


@dataclass(frozen=True)
class Entry:
    """An entry of the cache, which may not exist yet; `storage` holds its own files."""

    storage: Storage

    @property
    def address(self) -> str:
        """The entry's content address, which names its directory."""
        return self.storage.uri.rpartition("/")[2]

    def place(self, split: SplitName, view: int) -> Path:
        """Return the directory on this machine from which a view is read."""
        return self.storage.local_path(f"{split}/{view:04d}")

    def has(self, split: SplitName, view: int) -> bool:
        """Return whether a view exists; if so, it is complete."""
        return f"{view:04d}" in self.storage.list(split)

    def describe(self, outline: Outline) -> None:
        """Create the entry with the outline of its teacher, unless it exists."""
        if ABOUT not in self.storage.list():
            about = {"version": 6, "address": self.address, "outline": asdict(outline)}
            self.storage.put(ABOUT, strict_json(about))

    def outline(self) -> Outline | None:
        """Return the outline of the entry's teacher; None if the entry does not exist."""
        try:
            about = json.loads(self.storage.local_path(ABOUT).read_text(encoding="utf-8"))
            return _outline(about["outline"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptKnowledge(f"{self.storage.uri}/{ABOUT}: unreadable ({error}).") from error

    def forget_damaged(self) -> str:
        """Remove the description of the entry if it is unreadable, and return the reason; "" if it is readable."""
        try:
            self.outline()
        except CorruptKnowledge as error:
            self.storage.remove(ABOUT)
            return str(error)
        return ""

    @contextmanager
    def draft(
        self, split: SplitName, view: int, num_examples: int, layouts: Layouts, lengths: Tensor | None = None
    ) -> Iterator[Path]:
        """Yield a draft directory with a file for each part; after the block, which calls `fill`, it becomes the view.

        `lengths` are those of the examples, needed if a part is ragged. If the block raises, the draft is removed. If another
        writer was faster, its view, which is identical, is retained.
        """
        with self.storage.draft(f"{split}/{view:04d}") as draft:
            for part, layout in layouts.items():
                shape = layout.stored_shape(num_examples, lengths)
                np.lib.format.open_memmap(draft / f"{part}.npy", mode="w+", dtype=layout.dtype, shape=shape)
            if any(layout.ragged for layout in layouts.values()):
                assert lengths is not None
                smallest = np.min_scalar_type(int(lengths.max()))  # a byte an example for up to 255 steps
                np.save(draft / f"{LENGTHS}.npy", lengths.numpy().astype(smallest))
            yield draft
            digests = {path.stem: sha256_of(path) for path in sorted(draft.glob("*.npy"))}
            ragged = {part: layout.document() for part, layout in layouts.items() if layout.ragged}
            write_json(draft / MANIFEST, {"version": 5, "view": f"{split}/{view}", "sha256": digests, "ragged": ragged})

    def lock(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Hold the entry's lease within the block; if another process holds it, log a message and wait."""
        return lease_in_turn(self.storage, "entry", say, "the same knowledge")

    def view_lock(self, split: SplitName, view: int) -> AbstractContextManager[None]:
        """Hold the lease of a view within the block; wait while another process holds it."""
        return self.storage.lease(f"{split}-{view}", wait=True)


def fill(draft: Path, parts: Mapping[str, Tensor], first_row: int) -> None:
    """Write stored rows of a view into its draft, starting at `first_row`; other processes may write other rows meanwhile.

    Values are clipped to the range of their type: in float16, a logit of ±65,504 already means probability 0 or 1.
    """
    for part, tensor in parts.items():
        with (draft / f"{part}.npy").open("r+b") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            row_bytes = math.prod(shape[1:]) * dtype.itemsize
            file.seek(first_row * row_bytes, 1)
            file.write(_stored(tensor, dtype).data)


def _stored(tensor: Tensor, dtype: np.dtype[Any]) -> np.ndarray:
    kind: torch.dtype = getattr(torch, dtype.name)
    if kind.is_floating_point:
        limits = torch.finfo(kind)
        tensor = tensor.clamp(limits.min, limits.max)
    return tensor.to(kind).contiguous().numpy()


def remove_damaged(entry: Entry, views: Sequence[tuple[SplitName, int]]) -> list[str]:
    """Verify the checksums of the existing views, remove the damaged ones, and return a message for each of these."""
    messages = []
    for split, view in views:
        if entry.has(split, view):
            try:
                open_view(entry.place(split, view))
            except CorruptKnowledge as error:
                entry.storage.remove(f"{split}/{view:04d}")
                messages.append(str(error))
    return messages


def open_view(place: Path) -> dict[str, Part]:
    """Return a view's parts, memory-mapped. Raises `CorruptKnowledge` if a checksum is wrong."""
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        digests, layouts = manifest["sha256"], {part: layout_of(one) for part, one in manifest["ragged"].items()}
        damaged = [name for name, digest in digests.items() if sha256_of(place / f"{name}.npy") != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptKnowledge(f"{place}: unreadable ({error}).") from error
    if damaged:
        raise CorruptKnowledge(f"{place}: the checksum of {', '.join(damaged)} is wrong.")
    parts: dict[str, Part] = {name: _mapped(place / f"{name}.npy") for name in digests if name != LENGTHS}
    if layouts:
        lengths = torch.from_numpy(np.load(place / f"{LENGTHS}.npy", allow_pickle=False).astype(np.int64))
        for name, layout in layouts.items():
            parts[name] = StoredPart(_mapped(place / f"{name}.npy"), layout, lengths, layout.row_offsets(lengths))
    return parts


@dataclass(kw_only=True)
class Knowledge:
    """Access to an entry: `view("train", 3)["logits.class"]` is `[n, …]`; row i belongs to example i.

    A view is opened and verified once a process. `fill` writes a missing view. With `local_dir`, a node stores a copy of each
    view that it reads on its own disk.
    """

    entry: Entry
    outline: Outline
    fill: Callable[[SplitName, int], None]
    local_dir: Path | None = None
    _opened: dict[tuple[SplitName, int], dict[str, Part]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Exclude opened views from pickling, because memory maps would be sent as bytes."""
        return {**self.__dict__, "_opened": {}}

    def view(self, split: SplitName, number: int) -> Mapping[str, Part]:
        """Return a view's parts, memory-mapped and verified; each is indexed by rows and returns `[rows, …]`."""
        key = (split, number)
        if key not in self._opened:
            if not self.entry.has(split, number):
                self.fill(split, number)
            place = self.entry.place(split, number)
            self._opened[key] = self._copied(place, split, number) if self.local_dir else open_view(place)
        return self._opened[key]

    def _copied(self, source: Path, split: SplitName, number: int) -> dict[str, Part]:
        """Return a view from this node's own disk; the first process that finds no valid copy makes one."""
        assert self.local_dir is not None
        own = Entry(open_storage(self.local_dir).within(self.entry.address))
        place = own.place(split, number)
        with own.view_lock(split, number):
            if place.exists():
                try:
                    return open_view(place)
                except CorruptKnowledge:
                    shutil.rmtree(place)
            with own.storage.draft(f"{split}/{number:04d}") as draft:
                shutil.copytree(source, draft, dirs_exist_ok=True)
            return open_view(place)


def _outline(saved: Mapping[str, Any]) -> Outline:
    return Outline(
        classes=saved["classes"],
        sequences=saved["sequences"],
        steps=saved["steps"],
        stages=tuple(Stage(**{**stage, "grid": tuple(stage["grid"])}) for stage in saved["stages"]),
        weights={name: tuple(shape) for name, shape in saved["weights"].items()},
        head_stages=tuple(saved["head_stages"]),
    )


def _mapped(path: Path) -> Tensor:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # the array is never written to
        return torch.from_numpy(array)
