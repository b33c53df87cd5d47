"""Distillation losses: how far a student is from what its teacher knows. One file a loss.

`build(config, temperature, student, teacher)` takes the outlines of both networks and returns a module that compares their
answers; what it has to learn for that (adapters between unequal shapes) are its parameters, trained beside the student and
left behind with the loss. A plugin's `NEEDS` names what it compares beside the label sequence. A loss never knows the task.

Whatever it compares, a step that the mask leaves out changes neither a loss nor its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tutelage import inherit
from tutelage.errors import InputError
from tutelage.sparse_labels import TopClasses

Loss = nn.Module
Need = Literal["logits", "features", "maps", "heads", "pooled", "weights"]
SMALLEST_START = 0.1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A network's stage: its name, how its positions are arranged ((height, width), (tokens,) or ()), and its channels.

    `heads` counts the attention heads of its last block, 0 where it has none.
    """

    name: str
    grid: tuple[int, ...]
    channels: int
    heads: int = 0

    @property
    def positions(self) -> int:
        """How many positions there are; a vector has one."""
        return prod(self.grid)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a network offers, known before it is trained: classes, stages in order of depth, shapes of its weights by name."""

    classes: int
    stages: tuple[Stage, ...] = ()
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network says of a batch: logits `[batch, steps, classes]`, and of each stage, by its name, what is needed.

    `features` are `[batch, positions, channels]`, and `pooled` `[batch, channels]` their means over the positions; `maps`
    `[batch, positions]` are their mean squares over the channels: where the network looks (Zagoruyko and Komodakis, 2017).
    `heads` are attention scores before the softmax, `[batch, heads, positions, positions]`. `weights` are parameters by name.

    A teacher's answer also says what is true of the batch: `labels` `[batch, steps]`, -1 where unknown, and `mask`
    `[batch, steps]`, False at steps that are padding (None: none is). A teacher of sparse knowledge has `top` in place of
    logits, which are then empty.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    pooled: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    mask: Tensor | None = None
    top: TopClasses | None = None


def real_steps(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Return `[batch, steps, …]` as `[n, …]`, the n steps that are no padding; all of them without a mask."""
    return tensor.flatten(0, 1) if mask is None else tensor[mask]


def position_mask(teacher: Answer, positions: int) -> Tensor | None:
    """Return the mask `[batch, positions]` of a stage; None if all count.

    Where a stage has a position for each of several steps, its positions are the steps.
    """
    mask = teacher.mask
    return mask if mask is not None and mask.shape[1] == positions > 1 else None


def without_padding(tensor: Tensor, teacher: Answer) -> Tensor:
    """Return a stage's tensor `[batch, positions, …]` with 0 at the positions that are padding."""
    mask = position_mask(teacher, tensor.shape[1])
    return tensor if mask is None else tensor.where(mask.view(*mask.shape, *[1] * (tensor.ndim - 2)), 0.0)


class Scaled(nn.Module):
    """ln(classes) · loss / max(loss at the first step, 0.1): a weight of 1 means the same for every loss.

    So a loss starts at about the size of the label loss of an untrained network; what starts below 0.1 is not blown up to it.
    """

    is_scaled = True

    def __init__(self, loss: nn.Module, classes: int) -> None:
        super().__init__()
        self.loss, self.unit = loss, log(classes)
        self.register_buffer("start", torch.tensor(float("nan")))
        self.start: Tensor

    def forward(self, student: Answer, teacher: Answer) -> Tensor:
        """Return the loss, a scalar."""
        value: Tensor = self.loss(student, teacher)
        first = value.detach().float().clamp(min=SMALLEST_START)
        self.start = torch.where(self.start.isnan(), first, self.start)
        return self.unit * value / self.start


def scaled(loss: nn.Module, classes: int) -> nn.Module:
    """Return the loss by its value at the start (`Scaled`); itself if its terms are so already."""
    return loss if getattr(loss, "is_scaled", False) else Scaled(loss, classes)


def needs_of(plugin: Any, config: Any) -> frozenset[Need]:
    """Return what a loss plugin compares: its `needs(config)` if options decide it, otherwise its `NEEDS`.

    The label sequence is always there, if only sparsely; "logits" asks for the whole of it.
    """
    found: frozenset[Need] = plugin.needs(config) if hasattr(plugin, "needs") else plugin.NEEDS
    return found


def paired(student: Outline, teacher: Outline, loss: str) -> list[tuple[Stage, Stage]]:
    """Return which student's stage learns from which teacher's: by depth, the last from the last.

    Raises `InputError` where one of them names no stages.
    """
    for who, outline in (("student", student), ("teacher", teacher)):
        if not outline.stages:
            raise InputError(
                f"loss '{loss}' compares stages, and the {who} has none. A network's stages are its children named stage1, "
                "stage2, …; use a loss of the output alone, such as kd, or name them."
            )
    count = min(len(student.stages), len(teacher.stages))
    return list(zip(inherit.spread(student.stages, count), inherit.spread(teacher.stages, count), strict=True))
