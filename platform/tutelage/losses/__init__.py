"""Distillation losses, one file each: distances between the outputs of a student and of its teacher.

`build(config, temperature, student, teacher)` takes the outlines of both networks and returns a module that compares their
outputs. Its parameters are adapters between unequal shapes; they are trained with the student and discarded with the loss. A
plugin's `NEEDS` names what it compares besides the label sequence. Losses are independent of the task.

Steps that the mask excludes change neither a loss nor its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses._grids import regridded, regridded_features, restepped
from tutelage.masks import mask_of_steps
from tutelage.networks import inherit
from tutelage.networks.output import Need, Outline, Output, Stage

Loss = nn.Module
SMALLEST_START = 0.1


def real_steps(tensor: Tensor, mask: Tensor | None) -> Tensor:
    """Return the n real steps of `[batch, steps, …]` as `[n, …]`; without a mask, all steps are real."""
    rows = tensor.flatten(0, 1)
    if mask is None:
        return rows
    real = mask.flatten().nonzero().squeeze(1)
    return rows if len(real) == len(rows) else rows.index_select(0, real)  # in half the time of tensor[mask]


def position_mask(teacher: Output, stage: Stage, positions: int) -> Tensor | None:
    """Return the mask `[batch, positions]` of a stage, True at real positions; None if all are real.

    A stage whose positions are steps has the mask of the input, or of the label sequence, whichever has as many steps.
    """
    return mask_of_steps(positions, teacher.input_mask, teacher.mask) if stage.has_steps else None


def without_padding(tensor: Tensor, teacher: Output, stage: Stage) -> Tensor:
    """Return a stage's tensor `[batch, positions, …]` with padding set to 0."""
    mask = position_mask(teacher, stage, tensor.shape[1])
    return tensor if mask is None else tensor.where(mask.view(*mask.shape, *[1] * (tensor.ndim - 2)), 0.0)


def on_grid_of(tensor: Tensor, teacher: Output, other: Stage, own: Stage, positions: int) -> Tensor:
    """Return a teacher's maps `[batch, positions]` or features `[batch, positions, channels]` at a student's `positions`.

    Stages whose positions are steps may have other strides (`_grids.restepped`); other stages have the grids of their outlines,
    and one stage of steps beside such a grid is a row. Padding is 0.
    """
    clean = without_padding(tensor, teacher, other)
    if own.has_steps and other.has_steps:
        return restepped(clean, position_mask(teacher, other, tensor.shape[1]), positions)
    source, target = grid_of(other, tensor.shape[1]), grid_of(own, positions)
    return regridded(clean, source, target) if tensor.ndim == 2 else regridded_features(clean, source, target)


def grid_of(stage: Stage, positions: int) -> tuple[int, ...]:
    """Return the grid of a stage in a batch; if positions are steps, one row as long as the longest example."""
    return (1, positions) if stage.has_steps else stage.grid


class Scaled(nn.Module):
    """ln(classes) · loss / max(loss at the first step, 0.1), so that equal weights mean equal influence for all losses.

    Each loss starts at about the label loss of an untrained network. The limit of 0.1 prevents that a loss with a smaller
    value at its first step is scaled up.
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
    """Return the loss scaled by its value at the first step (`Scaled`); unchanged if it already scales its terms."""
    return loss if getattr(loss, "is_scaled", False) else Scaled(loss, classes)


def needs_of(plugin: Any, config: Any) -> frozenset[Need]:
    """Return what a loss plugin compares: its `needs(config)` if that depends on options, otherwise its `NEEDS`.

    A label sequence is always available, but it may be sparse (top-k); "logits" requires all of its logits.
    """
    found: frozenset[Need] = plugin.needs(config) if hasattr(plugin, "needs") else plugin.NEEDS
    return found


def paired(student: Outline, teacher: Outline, loss: str) -> list[tuple[Stage, Stage]]:
    """Return pairs of stages (student, teacher), matched by depth; the last pair is the last stage of both.

    Raises `InputError` for a network without stages.
    """
    for who, outline in (("student", student), ("teacher", teacher)):
        if not outline.stages:
            raise InputError(
                f"loss '{loss}' compares stages, and the {who} has none. A network's stages are its children named stage1, "
                "stage2, …: name them (of an ONNX file, tensors by its option features), or use a loss that compares only "
                "logits, such as kd."
            )
    count = min(len(student.stages), len(teacher.stages))
    return list(zip(inherit.spread(student.stages, count), inherit.spread(teacher.stages, count), strict=True))


class PerSequence(nn.Module):
    """The mean of a loss over a task's label sequences, each with its own mask and classes.

    A loss that does not compare label sequences is applied once. Outputs are mappings by sequence, as `capture.outputs_from`
    returns them.
    """

    def __init__(self, losses: Mapping[str, Loss]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)

    def forward(self, student: Mapping[str, Output], teacher: Mapping[str, Output]) -> Tensor:
        """Return the loss, a scalar."""
        found: list[Tensor] = [loss(student[name], teacher[name]) for name, loss in self.losses.items()]
        return found[0] if len(found) == 1 else torch.stack(found).mean()


def compares_sequences(plugin: Any, config: Any) -> bool:
    """Return whether a loss compares label sequences.

    A plugin's `SEQUENCES` decides: "each" or "none", or a function of the config that returns one of these. Without it, a loss
    compares label sequences if it needs nothing else.
    """
    declared = getattr(plugin, "SEQUENCES", None)
    if declared is not None:
        return bool((declared(config) if callable(declared) else declared) == "each")
    return needs_of(plugin, config) <= {"logits"}


def for_sequences(
    plugin: Any, config: Any, student: Outline, teacher: Outline, build: Callable[[Outline, Outline], Loss]
) -> PerSequence:
    """Return a loss built by `build` for every label sequence of the student, or for one if the plugin compares none.

    Raises `InputError` where label sequences are compared of which the two networks have other steps.
    """
    compares = compares_sequences(plugin, config)
    names = list(student.sequences) if compares else list(student.sequences)[:1]
    for name in names if compares else ():
        _check_steps(name, student.steps.get(name), teacher.steps.get(name))
    return PerSequence({name: build(student.of(name), teacher.of(name)) for name in names})


def _check_steps(name: str, own: int | None, other: int | None) -> None:
    """Raise `InputError` unless student and teacher have as many steps of the label sequence `name`."""
    if own != other:
        raise InputError(
            f"the student gives {own} steps of '{name}' for an example of typical length, its teacher {other}, so this loss "
            "has no pairs of steps. Give both the same stride, or compare features only."
        )
