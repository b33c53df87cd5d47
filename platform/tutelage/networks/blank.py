"""Blank arguments for a network of a signature: zeros of the right names, types and shapes, to size, trace and time it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.signature import InputSpec, Signature

DTYPES = {"float32": torch.float32, "int64": torch.int64}


def blank_arguments(signature: Signature, batch: int, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Return what a network of `signature` is called with for `batch` examples of typical length: zeros, and full masks."""
    found: list[Tensor] = []
    for spec in signature.inputs:
        found.append(torch.zeros(batch, *spec.typical_shape, dtype=DTYPES[spec.dtype], device=device))
        if spec.is_ragged:
            found.append(torch.ones(batch, spec.steps, dtype=torch.bool, device=device))
    return tuple(found)


def argument_names(signature: Signature) -> tuple[str, ...]:
    """Return the names of a network's arguments: of every input, and `<input>_mask` after a ragged one."""
    return tuple(name for spec in signature.inputs for name in _names(spec))


def _names(spec: InputSpec) -> tuple[str, ...]:
    return (spec.name, f"{spec.name}_mask") if spec.is_ragged else (spec.name,)


def classes_of(given: Any, signature: Signature) -> dict[str, int]:
    """Return the number of classes of each label sequence in what a network gave: a tensor, a mapping or a tuple."""
    names = [output.name for output in signature.outputs]
    if isinstance(given, Tensor):
        given = (given,)
    tensors = dict(given) if isinstance(given, Mapping) else dict(zip(names, given, strict=True))
    return {name: tensors[name].shape[-1] for name in names}
