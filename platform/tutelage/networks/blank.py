"""Blank arguments for a network: zeros with the types and shapes of its signature, for sizing, tracing and timing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.signature import InputSpec, Signature
from tutelage.tasks import by_sequence

DTYPES = {"float32": torch.float32, "int64": torch.int64}


def blank_arguments(signature: Signature, batch: int, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Return the arguments of a network for `batch` blank examples of typical length: zeros, and masks that are all True."""
    arguments: list[Tensor] = []
    for spec in signature.inputs:
        arguments.append(torch.zeros(batch, *spec.typical_shape, dtype=DTYPES[spec.dtype], device=device))
        if spec.is_ragged:
            arguments.append(torch.ones(batch, spec.steps, dtype=torch.bool, device=device))
    return tuple(arguments)


def argument_names(signature: Signature) -> tuple[str, ...]:
    """Return the names of a network's arguments: each input, followed by `<input>_mask` if it is ragged."""
    return tuple(name for spec in signature.inputs for name in _names(spec))


def _names(spec: InputSpec) -> tuple[str, ...]:
    return (spec.name, mask_name(spec)) if spec.is_ragged else (spec.name,)


def mask_name(spec: InputSpec) -> str:
    """Return the name of the mask of a ragged input."""
    return f"{spec.name}_mask"


def classes_of(result: Any, signature: Signature) -> dict[str, int]:
    """Return the number of classes of each label sequence in a network's result."""
    return {name: logits.shape[-1] for name, logits in by_sequence(result, list(signature.classes)).items()}


def steps_of(result: Any, signature: Signature) -> dict[str, int]:
    """Return the number of steps of each label sequence in a network's result; logits `[batch, classes]` have one."""
    found = by_sequence(result, list(signature.classes))
    return {name: logits.shape[1] if logits.ndim > 2 else 1 for name, logits in found.items()}
