"""Tasks: what a prediction is, what it costs to be wrong, and how good a student is. One file a task.

A task never knows the distillation losses; they never know the task. Both speak in sequences `[batch, steps, classes]`.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from tutelage.measure import Measure


class Task(Protocol):
    """What a task's `build(config)` returns. The first of `measures` is the primary one, which decisions rest on."""

    measures: tuple[Measure, ...]

    def predict(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Return the label sequence `[batch, steps, classes]` (logits) of `inputs` `[batch, …]`."""
        ...

    def label_losses(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return each example's loss `[batch]` of `logits` `[batch, steps, classes]` against `labels` `[batch, steps]`.

        `smoothing` is the share of the label's probability that is spread over all classes. An `UNKNOWN` label costs 0 and
        has no gradient.
        """
        ...

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return which steps are right: booleans `[batch, steps]`; one of `UNKNOWN` label is not."""
        ...
