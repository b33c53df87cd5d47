"""Data sources, one file each. A source holds three disjoint splits of examples.

`read(config, seed, split)` returns one split. The search reads `train` and `validation`; only `select` and `evaluate` read
`test`. Training examples may be unlabelled: a student learns from the teacher's outputs for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from tutelage.data._examples import PAST_THE_END, UNKNOWN, Batch, Examples, Field, classified, has_label
from tutelage.data._ragged import Ragged, offsets_of, ragged
from tutelage.errors import InputError

__all__ = [
    "PAST_THE_END", "SPLITS", "UNKNOWN", "Batch", "Examples", "Field", "Ragged", "SplitName", "checked", "classified",
    "fingerprint", "has_label", "offsets_of", "ragged",
]  # fmt: skip

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def checked(examples: Examples, split: SplitName) -> Examples:
    """Return `examples` if all labels are valid.

    Raises `InputError` (field, row, value) for a label that is not a class, or a missing one outside the training split.
    """
    for name, target in examples.targets.items():
        if target.kind == "class":
            _check_classes(name, target, split)
    return examples


def _check_classes(name: str, target: Field, split: SplitName) -> None:
    values = target.values.values if isinstance(target.values, Ragged) else target.values
    lowest = UNKNOWN if split == "train" else 0
    wrong = ((values < lowest) | (values >= len(target.names))).nonzero()
    if not len(wrong):
        return
    position = int(wrong[0, 0])
    row = (
        int(torch.searchsorted(target.values.offsets, position, right=True)) - 1
        if isinstance(target.values, Ragged)
        else position
    )
    raise InputError(
        f"the {split} split: the label '{name}' of row {row} (the first is 0) is {values[tuple(wrong[0])]}, and there are "
        f"{len(target.names)} classes (0 to {len(target.names) - 1}). Only training examples may be unlabelled "
        f"({UNKNOWN}). Correct the data, or remove those rows ({len(wrong):,} labels in all)."
    )


def fingerprint(*splits: Examples) -> str:
    """Return the SHA-256 (hex) over all fields of `splits`, in order: roles, names, kinds, classes and stored bytes."""
    digest = hashlib.sha256()
    for examples in splits:
        for role, fields in (("input", examples.inputs), ("target", examples.targets)):
            for name, field in fields.items():
                for part in _bytes_of(role, name, field):
                    digest.update(part)
    return digest.hexdigest()


def _bytes_of(role: str, name: str, field: Field) -> Iterator[bytes | memoryview]:
    values = field.values
    tensors: tuple[Tensor, ...] = (values.values, values.offsets) if isinstance(values, Ragged) else (values,)
    about = [(tuple(tensor.shape), str(tensor.dtype)) for tensor in tensors]
    yield repr((role, name, field.kind, field.names, field.mean, field.std, about)).encode()
    for tensor in tensors:
        yield tensor.contiguous().numpy().data
