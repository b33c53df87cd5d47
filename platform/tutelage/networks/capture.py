"""A network's outputs for a batch: its label sequences, and its stages' features and attention maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Batch
from tutelage.networks import top_k
from tutelage.networks.output import Need, Output
from tutelage.networks.stages import features_of, heads_watched, map_of, pooled_of, watched
from tutelage.signature import Signature
from tutelage.tasks import LabelSequence, Task

TAKEN: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {  # what is taken of a stage's output
    "features": lambda output, _mask: features_of(output),
    "pooled": pooled_of,
    "maps": lambda output, _mask: map_of(output),
}


def capture(model: nn.Module, task: Task, batch: Batch, needs: frozenset[Need]) -> dict[str, Tensor]:
    """Return the logits of every label sequence and, of each stage, what is needed; under the names that knowledge has.

    Parts are `logits.<sequence>`, `mask.<sequence>` where steps are masked, and `<need>.<stage>`. Means over positions that
    are steps of a ragged input leave out its padding.
    """
    with ExitStack() as watches:
        seen = watches.enter_context(watched(model)) if needs & set(TAKEN) else {}
        scores = watches.enter_context(heads_watched(model)) if "heads" in needs else {}
        sequences = task.forward(model, batch)
    parts = {f"logits.{name}": sequence.logits for name, sequence in sequences.items()}
    parts |= {f"mask.{name}": sequence.mask for name, sequence in sequences.items() if sequence.mask is not None}
    for kind in sorted(needs & set(TAKEN)):
        parts |= {f"{kind}.{stage}": TAKEN[kind](output, batch.input_mask) for stage, output in seen.items()}
    return parts | {f"heads.{stage}": each_heads for stage, each_heads in scores.items()}


def masks_of(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks of `capture`'s parts under their names there, `mask.<sequence>`."""
    return {part: tensor for part, tensor in parts.items() if part.startswith("mask.")}


def masks_for(batch: Batch, signature: Signature) -> dict[str, Tensor]:
    """Return the masks of the label sequences of a batch, `mask.<sequence>`: those of the inputs that give their steps."""
    stepped = [(output.name, output.steps) for output in signature.outputs if output.steps is not None]
    return {f"mask.{name}": batch.masks[source] for name, source in stepped if source in batch.masks}


def sequences_from(parts: Mapping[str, Tensor]) -> dict[str, LabelSequence]:
    """Return the label sequences of `capture`'s parts, in float32."""
    return {
        part.removeprefix("logits."): LabelSequence(
            logits=tensor.float(), mask=parts.get(part.replace("logits.", "mask.", 1))
        )
        for part, tensor in parts.items()
        if part.startswith("logits.")
    }  # fmt: skip


def outputs_from(
    parts: Mapping[str, Tensor], weights: Mapping[str, Tensor], classes: Mapping[str, int]
) -> dict[str, Output]:  # fmt: skip
    """Return one output for each label sequence of `classes` (name → number), as losses take them: in float32."""
    by_kind: dict[str, Any] = {"features": {}, "pooled": {}, "maps": {}, "heads": {}}
    for part, tensor in parts.items():
        kind, _, stage = part.partition(".")
        if kind in by_kind:
            by_kind[kind][stage] = tensor.float()
    return {
        name: _output(name, parts, count, Output(logits=_NONE, weights=weights, **by_kind)) for name, count in classes.items()
    }


_NONE = torch.empty(0)


def _output(name: str, parts: Mapping[str, Tensor], num_classes: int, shared: Output) -> Output:
    mask = parts.get(f"mask.{name}")
    if f"logits.{name}" in parts:
        return replace(shared, logits=parts[f"logits.{name}"].float(), mask=mask)
    sparse = {part: parts[f"{part}.{name}"] for part in top_k.PARTS}
    return replace(shared, top=top_k.restored(sparse, num_classes), mask=mask)
