"""What benchmarks ask of a network: its logits of examples that have one class each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.data import Examples
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.tasks import Task
from tutelage.training import inference


def logits_of(model: nn.Module, task: Task, examples: Examples) -> Tensor:
    """Return the logits `[n, 1, classes]` of dense examples."""
    rows = torch.arange(len(examples))
    return torch.cat([parts["logits.class"] for _, _, parts in inference.each(model, task, examples, rows)])


def signature_of_images(num_classes: int, shape: tuple[int, ...] = (3, 32, 32)) -> Signature:
    """Return the signature of a network from images to so many classes."""
    names = tuple(str(number) for number in range(num_classes))
    return Signature(
        inputs=(InputSpec(name="inputs", kind="image", shape=shape),), outputs=(OutputSpec(name="class", names=names),)
    )  # fmt: skip
