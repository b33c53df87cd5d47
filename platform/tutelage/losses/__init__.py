"""Distillation losses: how far a student is from what its teacher knows. One file a loss.

`build(config, temperature, student, teacher)` takes the outlines of both networks and returns a module that compares their
answers; what it has to learn for that (adapters between unequal shapes) are its parameters, trained beside the student and
left behind with the loss. A plugin's `NEEDS` names what it compares beside the logits. A loss never knows the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from torch import Tensor, nn

from tutelage import inherit
from tutelage.errors import InputError

Loss = nn.Module
Need = Literal["features", "maps", "weights"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A network's stage: its name, how its positions are arranged ((height, width), (tokens,) or ()), and its channels."""

    name: str
    grid: tuple[int, ...]
    channels: int

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

    def fits(self, name: str, shape: tuple[int, ...]) -> bool:
        """Return whether another network's weight `name` of `shape` can be cut to this one's."""
        return name in self.weights and inherit.fits(self.weights[name], shape)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network says of a batch: logits `[batch, steps, classes]`, and of each stage, by its name, what is needed.

    `features` are `[batch, positions, channels]`; `maps` `[batch, positions]` are their mean squares over the channels: where
    the network looks (Zagoruyko and Komodakis, 2017). `weights` are parameters by name.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)


def needs_of(plugin: Any, config: Any) -> frozenset[Need]:
    """Return what a loss plugin compares beside the logits: its `needs(config)` if options decide it, otherwise its `NEEDS`."""
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
    return list(zip(_spread(student.stages, count), _spread(teacher.stages, count), strict=True))


def _spread(stages: tuple[Stage, ...], count: int) -> list[Stage]:
    """Return `count` of the stages, evenly spread, the last one among them."""
    return [stages[len(stages) * (i + 1) // count - 1] for i in range(count)]
