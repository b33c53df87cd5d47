"""What a network outputs for a batch, and what it offers before it is trained: label sequences, stages, shapes of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from torch import Tensor

from tutelage.networks.top_k import TopClasses

Need = Literal["logits", "features", "maps", "heads", "pooled", "weights"]


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
    """What a network offers, known before it is trained: classes, stages in order of depth, shapes of its weights by name.

    `sequences` holds the number of classes of every label sequence by name; `classes` is that of the one sequence that a loss
    compares.
    """

    classes: int
    stages: tuple[Stage, ...] = ()
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str) -> Outline:
        """Return the outline as a loss that compares the label sequence `name` sees it."""
        return replace(self, classes=self.sequences[name])


@dataclass(frozen=True, kw_only=True)
class Output:
    """One label sequence of a batch, logits `[batch, steps, classes]`, and of each stage, by its name, what is needed.

    `features` are `[batch, positions, channels]`, and `pooled` `[batch, channels]` their means over the positions; `maps`
    `[batch, positions]` are their mean squares over the channels: where the network looks (Zagoruyko and Komodakis, 2017).
    `heads` are attention scores before the softmax, `[batch, heads, positions, positions]`. `weights` are parameters by name.

    A teacher's output also holds what is true of the batch: `labels` `[batch, steps]`, -1 where unknown; `mask`
    `[batch, steps]`, False at steps that are padding (None: none is); and `input_mask` `[batch, positions]`, the same of the
    first ragged input. A teacher of sparse knowledge has `top` in place of logits, which are then empty.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    pooled: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    mask: Tensor | None = None
    input_mask: Tensor | None = None
    top: TopClasses | None = None
