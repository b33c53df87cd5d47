"""Distillation losses: how far a student is from what its teacher knows. One file a loss.

`build(config, temperature, student, teacher)` takes the outlines of both networks and returns a module that compares their
answers; what it has to learn for that (adapters between unequal shapes) are its parameters, trained beside the student and
left behind with the loss. A plugin's `NEEDS` names what it compares beside the label sequence. A loss never knows the task.

Whatever it compares, a step that the mask leaves out changes neither a loss nor its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.networks import inherit
from tutelage.networks.output import Need, Outline, Output, Stage

Loss = nn.Module
SMALLEST_START = 0.1


def real_steps(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Return `[batch, steps, …]` as `[n, …]`, the n steps that are no padding; all of them without a mask."""
    return tensor.flatten(0, 1) if mask is None else tensor[mask]


def position_mask(teacher: Output, positions: int) -> Tensor | None:
    """Return the mask `[batch, positions]` of a stage; None if all count.

    Where a stage has a position for each of several steps of the input or of the label sequence, its positions are the steps.
    """
    for mask in (teacher.input_mask, teacher.mask):
        if mask is not None and mask.shape[1] == positions > 1:
            return mask
    return None


def without_padding(tensor: Tensor, teacher: Output) -> Tensor:
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

    def forward(self, student: Output, teacher: Output) -> Tensor:
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


class PerSequence(nn.Module):
    """The mean of a loss over a task's label sequences, each compared with its own mask and classes.

    A loss that does not compare label sequences is applied once. Outputs are given by sequence, as `capture.outputs_from` does.
    """

    def __init__(self, losses: Mapping[str, Loss]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)

    def forward(self, student: Mapping[str, Output], teacher: Mapping[str, Output]) -> Tensor:
        """Return the loss, a scalar."""
        found: list[Tensor] = [loss(student[name], teacher[name]) for name, loss in self.losses.items()]
        return found[0] if len(found) == 1 else torch.stack(found).mean()


def compares_sequences(plugin: Any, config: Any) -> bool:
    """Return whether a loss compares label sequences: if its `SEQUENCES` says so, or it needs nothing but them.

    `SEQUENCES` is "each" or "none", or a function of the config that returns one of these.
    """
    said = getattr(plugin, "SEQUENCES", None)
    if said is not None:
        return bool((said(config) if callable(said) else said) == "each")
    return needs_of(plugin, config) <= {"logits"}


def for_sequences(
    plugin: Any, config: Any, student: Outline, teacher: Outline, build: Callable[[Outline, Outline], Loss]
) -> PerSequence:
    """Return a plugin's loss for every label sequence of the student, or once if it compares none; `build` makes one."""
    names = list(student.sequences) if compares_sequences(plugin, config) else list(student.sequences)[:1]
    return PerSequence({name: build(student.of(name), teacher.of(name)) for name in names})
