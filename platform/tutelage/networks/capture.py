"""A network's outputs for a batch: its label sequences, and its stages' features and attention maps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Batch
from tutelage.masks import at_stride, mask_of_steps
from tutelage.networks import top_k
from tutelage.networks.output import Need, Output
from tutelage.networks.stages import features_of, heads_watched, map_of, pooled_of, qkv_watched, watched
from tutelage.signature import Signature
from tutelage.tasks import DecodesLabels, LabelSequence, Task

CAPTURED: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {  # need → function of a stage's output and its steps' mask
    "features": lambda output, _mask: features_of(output),
    "pooled": pooled_of,
    "maps": lambda output, _mask: map_of(output),
}


def capture(
    model: nn.Module, task: Task, batch: Batch, needs: frozenset[Need], stages_of_steps: Collection[str] = ()
) -> dict[str, Tensor]:  # fmt: skip
    """Return the logits of every label sequence and the needed tensors of each stage, by part.

    Parts are `logits.<sequence>`, `mask.<sequence>` if steps are masked, `<need>.<stage>`, and `decoded.<sequence>` if the task
    decodes labels. Cached knowledge has the same parts. In `stages_of_steps` (`Outline.stages_of_steps`), means over positions
    exclude the padding of the input.
    """
    with ExitStack() as stack:
        seen = stack.enter_context(watched(model)) if needs & set(CAPTURED) else {}
        scores = stack.enter_context(heads_watched(model)) if "heads" in needs else {}
        qkv = stack.enter_context(qkv_watched(model)) if "qkv" in needs else {}
        sequences = task.forward(model, batch)
    parts = {f"logits.{name}": sequence.logits for name, sequence in sequences.items()}
    parts |= {f"mask.{name}": sequence.mask for name, sequence in sequences.items() if sequence.mask is not None}
    if "decoded" in needs and isinstance(task, DecodesLabels):
        parts |= {f"decoded.{name}": labels for name, labels in task.decoded_labels(sequences, batch).items()}
    for kind in sorted(needs & set(CAPTURED)):
        for stage, output in seen.items():
            mask = mask_of_steps(features_of(output).shape[1], batch.input_mask) if stage in stages_of_steps else None
            parts[f"{kind}.{stage}"] = CAPTURED[kind](output, mask)
    return parts | {f"{kind}.{stage}": t for kind, seen in (("heads", scores), ("qkv", qkv)) for stage, t in seen.items()}


def masks_of(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those parts of `capture` that are masks, `mask.<sequence>`."""
    return {part: tensor for part, tensor in parts.items() if part.startswith("mask.")}


def masks_for(parts: Mapping[str, Tensor], batch: Batch, signature: Signature) -> dict[str, Tensor]:
    """Return the masks `mask.<sequence>` of the label sequences in `parts`: those of their inputs, at their strides."""
    stepped = [(output.name, output.steps) for output in signature.outputs if output.steps is not None]
    return {
        f"mask.{name}": at_stride(batch.masks[source], parts[f"logits.{name}"].shape[1])
        for name, source in stepped
        if source in batch.masks
    }


def sequences_from(parts: Mapping[str, Tensor]) -> dict[str, LabelSequence]:
    """Return the label sequences in the parts of `capture`, in float32."""
    return {
        part.removeprefix("logits."): LabelSequence(
            logits=tensor.float(), mask=parts.get(part.replace("logits.", "mask.", 1))
        )
        for part, tensor in parts.items()
        if part.startswith("logits.")
    }  # fmt: skip


def outputs_from(
    parts: Mapping[str, Tensor], weights: Mapping[str, Tensor], sequences: Iterable[str]
) -> dict[str, Output]:  # fmt: skip
    """Return an `Output` in float32 for each of the label sequences, by name, as losses take them."""
    by_kind: dict[str, Any] = {"features": {}, "pooled": {}, "maps": {}, "heads": {}, "qkv": {}}
    for part, tensor in parts.items():
        kind, _, stage = part.partition(".")
        if kind in by_kind:
            by_kind[kind][stage] = tensor.float()
    return {name: _output(name, parts, Output(logits=_NONE, weights=weights, **by_kind)) for name in sequences}


_NONE = torch.empty(0)


def _output(name: str, parts: Mapping[str, Tensor], shared: Output) -> Output:
    mask, labels = parts.get(f"mask.{name}"), parts.get(f"decoded.{name}")
    shared = shared if labels is None else replace(shared, decoded=labels.long())
    if f"logits.{name}" in parts:
        return replace(shared, logits=parts[f"logits.{name}"].float(), mask=mask)
    if f"drawn.{name}" in parts:
        return replace(shared, drawn=parts[f"drawn.{name}"].long(), mask=mask)
    sparse = {part: parts[f"{part}.{name}"] for part in top_k.PARTS if f"{part}.{name}" in parts}
    return replace(shared, top=top_k.restored(sparse), mask=mask)
