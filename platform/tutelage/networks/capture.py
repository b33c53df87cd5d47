"""A network's outputs for a batch: its label sequence, and its stages' features and attention maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from tutelage.networks import top_k
from tutelage.networks.output import Need, Output
from tutelage.networks.stages import features_of, heads_watched, map_of, pooled_of, watched
from tutelage.tasks import Task

TAKEN: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {  # what is taken of a stage's output
    "features": lambda output, _mask: features_of(output),
    "pooled": pooled_of,
    "maps": lambda output, _mask: map_of(output),
}


def capture(
    model: nn.Module, task: Task, inputs: Tensor, needs: frozenset[Need], mask: Tensor | None = None
) -> dict[str, Tensor]:
    """Return logits and, of each stage, what is needed; under the names that knowledge has for them.

    Means over positions that are steps leave out those that `mask` `[batch, steps]` does.
    """
    with ExitStack() as watches:
        seen = watches.enter_context(watched(model)) if needs & set(TAKEN) else {}
        scores = watches.enter_context(heads_watched(model)) if "heads" in needs else {}
        parts = {"logits": task.predict(model, inputs)}
    for kind in sorted(needs & set(TAKEN)):
        parts |= {f"{kind}.{stage}": TAKEN[kind](output, mask) for stage, output in seen.items()}
    return parts | {f"heads.{stage}": each_heads for stage, each_heads in scores.items()}


def output_from(parts: Mapping[str, Tensor], weights: Mapping[str, Tensor], num_classes: int) -> Output:
    """Return the parts of an answer of `num_classes`, under knowledge's names, as a loss takes them: in float32."""
    by_kind: dict[str, Any] = {"features": {}, "pooled": {}, "maps": {}, "heads": {}}
    for part, tensor in parts.items():
        kind, _, stage = part.partition(".")
        if stage:
            by_kind[kind][stage] = tensor.float()
    if "logits" in parts:
        return Output(logits=parts["logits"].float(), weights=weights, **by_kind)
    return Output(logits=parts["gaps"].new_empty(0), top=top_k.restored(parts, num_classes), weights=weights, **by_kind)
