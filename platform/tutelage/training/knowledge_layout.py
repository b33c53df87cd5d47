"""The stored layout of a part of a teacher's outputs: one row an example, or unpadded rows if examples differ in length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data import offsets_of
from tutelage.errors import InputError
from tutelage.masks import stride_between


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The shape of a part for one example, and its element type by NumPy's name.

    The axes of `shape` listed in `ragged` are as long as the example, divided by `stride` and rounded up; their size in `shape`
    is 1. A dense part is stored as `[n, *shape]`. A ragged part is stored as `[Σ length ** len(ragged), *other axes]`, examples
    one after another.
    """

    shape: tuple[int, ...]
    dtype: str
    ragged: tuple[int, ...] = ()
    stride: int = 1

    def num_bytes(self, num_examples: int, lengths: Tensor | None = None) -> int:
        """Return the bytes of a view of `num_examples` examples, with `lengths` if they differ."""
        return math.prod(self.stored_shape(num_examples, lengths)) * np.dtype(self.dtype).itemsize

    def stored_shape(self, num_examples: int, lengths: Tensor | None) -> tuple[int, ...]:
        """Return the shape of a view's array."""
        if not self.ragged:
            return (num_examples, *self.shape)
        assert lengths is not None
        return (int(self.row_offsets(lengths)[-1]), *self._rest)

    @property
    def _rest(self) -> tuple[int, ...]:
        return tuple(size for axis, size in enumerate(self.shape) if axis not in self.ragged)

    def row_offsets(self, lengths: Tensor) -> Tensor:
        """Return the first stored row of every example, and the end, int64 `[n + 1]`."""
        return offsets_of(self._steps(lengths) ** len(self.ragged)) if self.ragged else torch.arange(len(lengths) + 1)

    def _steps(self, lengths: Tensor) -> Tensor:
        return -(-lengths // self.stride)

    def packed(self, part: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the stored form, without padding, of a padded part `[batch, …]` of examples with these `lengths`."""
        if not self.ragged:
            return part
        assert lengths is not None
        moved = part.movedim([axis + 1 for axis in self.ragged], list(range(1, 1 + len(self.ragged))))
        return moved[self._mask(lengths, moved.shape[1])]

    def unpacked(self, values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """Return a part `[batch, …]`, padded with 0, of examples with these `lengths` whose rows in `values` begin at `starts`.

        `values` are the stored rows of all examples.
        """
        steps, count = self._steps(lengths), len(self.ragged)
        longest = max(1, int(steps.max()))  # the length to which a batch is padded
        mask, within = self._mask(lengths, longest), torch.arange(longest)
        if count == 2:
            within = within.unsqueeze(1) * steps.view(-1, 1, 1) + within
        rows = (starts.view(-1, *[1] * count) + within).where(mask, 0)
        stored = values if len(values) else values.new_zeros(1, *self._rest)  # all examples may be empty
        padded = rows_of(stored, rows.flatten()).view(*rows.shape, *self._rest)
        if not mask.all():
            _signed(padded)[~mask] = 0
        return padded.movedim(list(range(1, 1 + count)), [axis + 1 for axis in self.ragged])

    def _mask(self, lengths: Tensor, longest: int) -> Tensor:
        """Return the mask of real values: `[batch, longest]`, or `[batch, longest, longest]` for two ragged axes."""
        one = torch.arange(longest) < self._steps(lengths.cpu()).unsqueeze(1)
        return one if len(self.ragged) == 1 else one.unsqueeze(1) & one.unsqueeze(2)

    def document(self) -> dict[str, Any]:
        """Return the layout as JSON values, which `layout_of` reads."""
        return {"shape": list(self.shape), "dtype": self.dtype, "ragged": list(self.ragged), "stride": self.stride}


Layouts = Mapping[str, Layout]


def layout_of(document: Mapping[str, Any]) -> Layout:
    """Return the layout stored by `Layout.document`."""
    return Layout(
        shape=tuple(document["shape"]), dtype=document["dtype"], ragged=tuple(document["ragged"]), stride=document["stride"]
    )


def inferred(part: str, samples: Mapping[int, Tensor], dtype: str) -> Layout:
    """Return the layout of a part, inferred from its values `[1, …]` for examples of different lengths, by length.

    Raises `InputError` for a part whose positions are not the steps of its example, each or at a stride, because its padding is
    then undefined.
    """
    shapes = {length: tuple(tensor.shape[1:]) for length, tensor in samples.items()}
    first = next(iter(shapes.values()))
    ragged = tuple(axis for axis in range(len(first)) if len({shape[axis] for shape in shapes.values()}) > 1)
    pairs = [(length, shape[axis]) for length, shape in shapes.items() for axis in ragged]
    stride = max((stride_between(*pair) or 1 for pair in pairs), default=1)  # a length below the stride fits smaller ones too
    if any(-(-length // stride) != steps for length, steps in pairs) or len(ragged) > 2:
        seen = ", ".join(f"{shape} for {length} steps" for length, shape in sorted(shapes.items()))
        raise InputError(
            f"knowledge: the teacher's '{part}' has shape {seen}, not one position a step or a stride, so it cannot be "
            "cached. Set knowledge.mode: live, or compare other layers (knowledge.layers)."
        )
    shape = tuple(1 if axis in ragged else size for axis, size in enumerate(first))
    return Layout(shape=shape, dtype=dtype, ragged=ragged, stride=stride)


def rows_of(stored: Tensor | StoredPart, rows: Tensor) -> Tensor:
    """Return the rows of a stored part."""
    if isinstance(stored, StoredPart):
        return stored[rows]
    return _signed(stored).index_select(0, rows).view(stored.dtype)  # in half the time of stored[rows]


def _signed(values: Tensor) -> Tensor:
    """Return uint16, the classes of `top_k`, as int16 with the same bits, because torch 2.9 cannot index uint16."""
    return values.view(torch.int16) if values.dtype == torch.uint16 else values


@dataclass(frozen=True)
class StoredPart:
    """A ragged part of a view in the cache, memory-mapped; indexing with rows returns them padded."""

    values: Tensor
    layout: Layout
    lengths: Tensor
    offsets: Tensor

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.layout.unpacked(self.values, self.offsets[rows], self.lengths[rows])
