"""Data sources: real examples in three splits that share none. One file a source.

`read(config, seed, split)` gives one split. The search reads `train` and `validation`; nothing but `select` and
`evaluate` reads `test`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Examples of one split: `inputs` float32 `[n, …]`, `labels` int64 `[n, steps]`, and the names of the classes."""

    inputs: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.inputs.dtype == torch.float32 and self.labels.dtype == torch.int64
        assert len(self.inputs) == len(self.labels) and self.labels.ndim == 2

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one example, without the batch."""
        return tuple(self.inputs.shape[1:])


def fingerprint(*splits: Split) -> str:
    """Return the SHA-256 (hex) of the examples, labels and class names of `splits`, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(repr((tuple(split.inputs.shape), split.class_names)).encode())
        digest.update(split.inputs.contiguous().numpy().data)
        digest.update(split.labels.contiguous().numpy().data)
    return digest.hexdigest()
