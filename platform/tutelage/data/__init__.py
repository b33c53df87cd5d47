"""Data sources: real examples in three splits that share none. One file a source.

`read(config, seed, split)` gives one split. The search reads `train` and `validation`; nothing but `select` and
`evaluate` reads `test`. A training example may be without a label: a teacher can tell what it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from tutelage.errors import InputError

SplitName = Literal["train", "validation", "test"]


SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


UNKNOWN = -1  # the label of an example that has none


@dataclass(frozen=True, kw_only=True)
class Split:
    """Examples of one split as they are stored, and what makes of them what a network sees.

    `inputs` is uint8 or float32 `[n, …]` and may be memory-mapped; `labels` int64 `[n, steps]`. `mean` and `std`, one number
    a channel (axis 1 of `inputs`) in stored units, normalise them; left empty, a network sees the stored numbers. `mask`
    `[n, steps]` is False at steps that are padding; without one, none is. A label of the training split may be `UNKNOWN`;
    validation and test have all of theirs, or nothing could be measured.
    """

    inputs: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        assert self.inputs.dtype in (torch.float32, torch.uint8) and self.labels.dtype == torch.int64
        assert len(self.inputs) == len(self.labels) and self.labels.ndim == 2
        assert self.mask is None or (self.mask.dtype == torch.bool and self.mask.shape == self.labels.shape)
        assert len(self.mean) == len(self.std) and len(self.mean) in (0, self.inputs.shape[1])
        assert all(spread > 0 for spread in self.std)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def labelled(self) -> Tensor:
        """Which examples have a label, at one step at least: booleans `[n]`."""
        return (self.labels != UNKNOWN).any(dim=1)

    @property
    def num_labelled(self) -> int:
        """How many examples have a label, at one step at least."""
        return int(self.labelled.sum())

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one example, without the batch."""
        return tuple(self.inputs.shape[1:])

    def to(self, device: torch.device | str) -> Split:
        """Return the split with its tensors on `device`."""
        return self._of({name: tensor.to(device) for name, tensor in self._tensors().items()})

    def head(self, count: int) -> Split:
        """Return the first `count` examples as a split."""
        return self._of({name: tensor[:count] for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        return {"inputs": self.inputs, "labels": self.labels, **({} if self.mask is None else {"mask": self.mask})}

    def _of(self, tensors: dict[str, Tensor]) -> Split:
        return replace(self, inputs=tensors["inputs"], labels=tensors["labels"], mask=tensors.get("mask"))

    def seen(self, rows: Tensor | slice) -> Tensor:
        """Return the examples of `rows` as a network sees them: float32, normalised, `[rows, …]`."""
        return self.normalised(self.inputs[rows])

    def normalised(self, stored: Tensor) -> Tensor:
        """Return stored inputs `[rows, …]` as a network sees them."""
        if not self.mean:
            return stored.float()
        shape = (1, -1) + (1,) * (stored.ndim - 2)
        shift = torch.tensor(self.mean, device=stored.device).view(shape)
        scale = torch.tensor(self.std, device=stored.device).view(shape)
        return stored.to(torch.float32, copy=True).sub_(shift).div_(scale)


def checked(split: Split, name: SplitName) -> Split:
    """Return `split`; `InputError` (row, value) for a label that is no class, or unknown outside training."""
    lowest = UNKNOWN if name == "train" else 0
    no_class = (split.labels < lowest) | (split.labels >= split.num_classes)
    wrong = (no_class if split.mask is None else no_class & split.mask).any(dim=1).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"the {name} split: the label of row {row} (the first is 0) is {split.labels[row].tolist()}, and there are "
            f"{split.num_classes} classes (0 to {split.num_classes - 1}). Only a training example may be without a label "
            f"({UNKNOWN}). Mend the data, or take those rows out ({len(wrong):,} in all)."
        )
    return split


def fingerprint(*splits: Split) -> str:
    """Return the SHA-256 (hex) of the examples, labels and class names of `splits`, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(
            repr((tuple(split.inputs.shape), str(split.inputs.dtype), split.class_names, split.mean, split.std)).encode()
        )
        digest.update(split.inputs.contiguous().numpy().data)
        digest.update(split.labels.contiguous().numpy().data)
        if split.mask is not None:
            digest.update(split.mask.contiguous().numpy().data)
    return digest.hexdigest()
