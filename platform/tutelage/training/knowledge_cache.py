"""What a teacher knows of a data set: a cache, view by view, memory-mapped by every trial on a node.

An entry is a directory named by its content address, with one directory a view (`train/0003`, `validation/0000`) that holds
an `.npy` for each part, and a manifest with their SHA-256. Parts are the label sequences `logits.<sequence>` `[n, steps,
classes]` (or, kept sparsely, `classes.`, `gaps.` and `tails.<sequence>`; see `networks.top_k`) and, of each compared stage,
`features.<stage>`, `pooled.<stage>`, `maps.<stage>` and `heads.<stage>` (see `networks.output`). Parts of examples of unequal
length are stored one after another, without padding. A view is written beside its place and renamed, so one that is there is
whole; workers may write rows of one draft at the same time.
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
from tutelage.files import sha256_of, write_json
from tutelage.networks.output import Outline, Stage
from tutelage.storage import Storage, open_storage
from tutelage.training.knowledge_layout import Layouts, StoredPart, layout_of

MANIFEST, ABOUT, LENGTHS = "manifest.json", "entry.json", "lengths"
Part = Tensor | StoredPart


class CorruptKnowledge(TutelageError):
    """A cached view whose bytes are not those that were written."""


@dataclass(frozen=True)
class Entry:
    """An entry of the cache on disk, there or yet to be written."""

    directory: Path

    @property
    def storage(self) -> Storage:
        """The entry's own files."""
        return open_storage(self.directory)

    def place(self, split: SplitName, view: int) -> Path:
        """Return where a view lies."""
        return self.directory / split / f"{view:04d}"

    def has(self, split: SplitName, view: int) -> bool:
        """Return whether a view is there; then it is whole."""
        return (self.place(split, view) / MANIFEST).exists()

    def describe(self, outline: Outline) -> None:
        """Begin the entry: put down what network it is of."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / ABOUT).exists():
            write_json(self.directory / ABOUT, {"version": 4, "address": self.directory.name, "outline": asdict(outline)})

    def outline(self) -> Outline | None:
        """Return the outline of the network that the entry is of; None if there is no such entry."""
        try:
            about = json.loads((self.directory / ABOUT).read_text(encoding="utf-8"))
            return _outline(about["outline"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptKnowledge(f"{self.directory / ABOUT}: unreadable ({error}).") from error

    def forget_damaged(self) -> str:
        """Remove what says which network the entry is of, if it cannot be read, and return what was wrong with it."""
        try:
            self.outline()
        except CorruptKnowledge as error:
            (self.directory / ABOUT).unlink()
            return str(error)
        return ""

    @contextmanager
    def draft(
        self, split: SplitName, view: int, num_examples: int, layouts: Layouts, lengths: Tensor | None = None
    ) -> Iterator[Path]:
        """Give a directory with a file for each part, to be filled by `fill` within the block; then it takes its place.

        `lengths` are those of the examples where some part is ragged. If the block raises, nothing is left. If another writer
        was faster, its view stays: they are the same.
        """
        with self.storage.draft(f"{split}/{view:04d}") as draft:
            for part, layout in layouts.items():
                shape = layout.stored_shape(num_examples, lengths)
                np.lib.format.open_memmap(draft / f"{part}.npy", mode="w+", dtype=layout.dtype, shape=shape)
            if any(layout.ragged for layout in layouts.values()):
                assert lengths is not None
                np.save(draft / f"{LENGTHS}.npy", lengths.numpy())
            yield draft
            digests = {path.stem: sha256_of(path) for path in sorted(draft.glob("*.npy"))}
            ragged = {part: layout.document() for part, layout in layouts.items() if layout.ragged}
            write_json(draft / MANIFEST, {"version": 4, "view": f"{split}/{view}", "sha256": digests, "ragged": ragged})

    def lock(self, what: str = "entry") -> AbstractContextManager[None]:
        """Wait until no other process holds the lease of that name, and hold it within the block."""
        return self.storage.lease(what, wait=True)


def fill(draft: Path, parts: Mapping[str, Tensor], first_row: int) -> None:
    """Write stored rows of a view into its draft, from `first_row` on; others may write other rows at the same time.

    Values beyond float16's range are clipped to it: a logit of ±65,504 is certainty already.
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
    """Check every byte of the views that are there, remove the damaged ones, and return what was wrong with each."""
    said = []
    for split, view in views:
        if entry.place(split, view).exists():
            try:
                open_view(entry.place(split, view))
            except CorruptKnowledge as error:
                shutil.rmtree(entry.place(split, view))
                said.append(str(error))
    return said


def open_view(place: Path) -> dict[str, Part]:
    """Return a view's parts, memory-mapped; `CorruptKnowledge` if a byte of it is not what was written."""
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        digests, layouts = manifest["sha256"], {part: layout_of(one) for part, one in manifest["ragged"].items()}
        damaged = [name for name, digest in digests.items() if sha256_of(place / f"{name}.npy") != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptKnowledge(f"{place}: unreadable ({error}).") from error
    if damaged:
        raise CorruptKnowledge(f"{place}: {', '.join(damaged)} is not what was written.")
    parts: dict[str, Part] = {name: _mapped(place / f"{name}.npy") for name in digests if name != LENGTHS}
    if layouts:
        lengths = torch.from_numpy(np.load(place / f"{LENGTHS}.npy", allow_pickle=False))
        for name, layout in layouts.items():
            parts[name] = StoredPart(_mapped(place / f"{name}.npy"), layout, lengths, layout.row_offsets(lengths))
    return parts


@dataclass(kw_only=True)
class Knowledge:
    """An entry as a student reads it: `view("train", 3)["logits"]` is `[n, …]`, row i being example i.

    A view is opened and checked once a process. One that is not there is asked of `fill`. With `local_dir` a node keeps a copy
    of each view that it reads, on its own disk.
    """

    entry: Entry
    outline: Outline
    fill: Callable[[SplitName, int], None]
    local_dir: Path | None = None
    _opened: dict[tuple[SplitName, int], dict[str, Part]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Send what names the entry, not what was read of it: memory maps would be sent as bytes."""
        return {**self.__dict__, "_opened": {}}

    def view(self, split: SplitName, number: int) -> Mapping[str, Part]:
        """Return a view's parts, memory-mapped and verified; indexed by rows, each gives `[rows, …]`."""
        key = (split, number)
        if key not in self._opened:
            if not self.entry.has(split, number):
                self.fill(split, number)
            place = self.entry.place(split, number)
            self._opened[key] = self._copied(place, split, number) if self.local_dir else open_view(place)
        return self._opened[key]

    def _copied(self, source: Path, split: SplitName, number: int) -> dict[str, Part]:
        """Return a view as it lies on this node's own disk, copied there by the first process that finds no whole one."""
        assert self.local_dir is not None
        own = Entry(self.local_dir / self.entry.directory.name)
        place = own.place(split, number)
        with own.lock(f"{split}-{number}"):
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
        stages=tuple(Stage(**{**stage, "grid": tuple(stage["grid"])}) for stage in saved["stages"]),
        weights={name: tuple(shape) for name, shape in saved["weights"].items()},
    )


def _mapped(path: Path) -> Tensor:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing writes to it
        return torch.from_numpy(array)
