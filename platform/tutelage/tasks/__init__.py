"""Tasks: which label sequences a network gives, what it costs to be wrong, and how good a network is. One file a task.

A task never knows the distillation losses, and they never know the task: both speak in label sequences. Nothing else takes
an argmax, counts classes or averages over steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import UNKNOWN, Batch, Examples
from tutelage.measure import Measure
from tutelage.signature import OutputSpec, Signature


@dataclass(frozen=True, kw_only=True)
class LabelSequence:
    """A label sequence: `logits` `[batch, steps, classes]` and the `mask` `[batch, steps]` of its real steps (None: all)."""

    logits: Tensor
    mask: Tensor | None = None


Sequences = Mapping[str, LabelSequence]


class Task(Protocol):
    """What a task's `build(config)` returns. The first of `measures` is the primary measure, which decisions rest on."""

    measures: tuple[Measure, ...]

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return the label sequences that a network must give for these examples; a network's heads follow from them."""
        ...

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the label sequences of `batch` by name."""
        ...

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the loss `[batch]` of each example against its targets, over real steps only.

        `smoothing` is the share of a label's probability that is spread over all classes. An `UNKNOWN` label costs 0 and has
        no gradient.
        """
        ...

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return by measure what each example contributed to it, float64 `[batch, k]`, for the measure's `aggregate`."""
        ...

    def decode(self, sequences: Sequences, batch: Batch) -> Any:
        """Return the prediction of every example, in the form of the task's targets."""
        ...

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the primary measure of a simple model on validation; a teacher that is no better is weak."""
        ...


def signature(task: Task, examples: Examples) -> Signature:
    """Return what a network for this task takes and gives."""
    return Signature(inputs=examples.input_specs, outputs=task.outputs(examples))


def called(model: nn.Module, batch: Batch, *names: str) -> dict[str, Tensor]:
    """Return the logits `[batch, steps, classes]` of the label sequences `names` that a network gives of a batch.

    A network gives a mapping by name, a tuple in the order of `names`, or, of a single sequence, its tensor. A tensor
    `[batch, classes]` is a sequence of one step.
    """
    given = model(*batch.arguments)
    if isinstance(given, Tensor):
        given = (given,)
    found = dict(given) if isinstance(given, Mapping) else dict(zip(names, given, strict=True))
    return {name: found[name].unsqueeze(1) if found[name].ndim == 2 else found[name] for name in names}


def with_targets(batch: Batch, targets: Mapping[str, Tensor]) -> Batch:
    """Return the batch with other targets."""
    return replace(batch, targets=targets)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean `[batch]` of `values` `[batch, steps]` over the steps of `mask`; 0 where there is none."""
    if mask is None:
        return values.mean(dim=1)
    counted = torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))
    return counted.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def cross_entropy(sequence: LabelSequence, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy in nats `[batch]` over each example's real steps with a label, 0 where there is none.

    `labels` are int64 `[batch, steps]`, `UNKNOWN` where there is none. What stands at other steps changes neither the loss nor
    its gradient.
    """
    counted = labels != UNKNOWN if sequence.mask is None else (labels != UNKNOWN) & sequence.mask
    logits = sequence.logits.where(counted.unsqueeze(-1), 0.0)  # before the loss: 0 times a NaN is no gradient of 0
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.where(counted, UNKNOWN).flatten(), ignore_index=UNKNOWN, label_smoothing=smoothing,
        reduction="none",
    )  # fmt: skip
    return masked_mean(losses.view_as(labels), counted)
