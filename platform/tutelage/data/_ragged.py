"""Sequences of unequal length, stored as values and offsets, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """`n` sequences stored one after another: `values` `[total, …]` and their start positions, int64 `offsets` `[n + 1]`.

    Sequence i is `values[offsets[i] : offsets[i + 1]]`.
    """

    values: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        assert self.offsets.dtype == torch.int64 and self.offsets.ndim == 1 and len(self.offsets) > 0
        assert int(self.offsets[-1]) == len(self.values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """The length of every sequence, int64 `[n]`."""
        return self.offsets.diff()

    def take(self, rows: Tensor | slice) -> Ragged:
        """Return the sequences of `rows`, an int64 tensor or a slice, in that order."""
        if isinstance(rows, slice):
            rows = torch.arange(len(self), device=self.offsets.device)[rows]
        lengths, starts = self.lengths[rows], self.offsets[:-1][rows]
        offsets = offsets_of(lengths)
        positions = torch.arange(int(offsets[-1]), device=self.offsets.device)
        shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
        return Ragged(self.values[positions + shift], offsets)

    def padded(self, fill: float = 0) -> tuple[Tensor, Tensor]:
        """Return the sequences `[n, longest, …]`, padded with `fill`, and a mask `[n, longest]`, True at real steps."""
        lengths = self.lengths
        longest = max(1, int(lengths.max())) if len(lengths) else 1
        mask = torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)
        padded = self.values.new_full((len(lengths), longest, *self.values.shape[1:]), fill)
        padded[mask] = self.values
        return padded, mask

    def to(self, device: torch.device | str) -> Ragged:
        """Return the sequences on `device`."""
        return Ragged(self.values.to(device), self.offsets.to(device))


def offsets_of(lengths: Tensor) -> Tensor:
    """Return the offsets, int64 `[n + 1]`, of sequences of these `lengths` `[n]`."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def ragged(sequences: Sequence[Tensor]) -> Ragged:
    """Return sequences, tensors `[length, …]` that differ only in their length, as one `Ragged`."""
    lengths = torch.tensor([len(one) for one in sequences], dtype=torch.int64)
    return Ragged(torch.cat(list(sequences)), offsets_of(lengths))
