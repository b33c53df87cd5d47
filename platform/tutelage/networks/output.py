"""A network's output for a batch, and its outline, which exists before training: label sequences, stages, weights' shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from torch import Tensor

from tutelage.networks.top_k import TopClasses

Need = Literal["logits", "features", "maps", "heads", "qkv", "pooled", "weights", "decoded", "head"]
Head = Callable[[Sequence[Tensor]], Mapping[str, Tensor]]  # features of stages → logits by label sequence
OF_TEACHER: frozenset[Need] = frozenset({"decoded", "head"})  # parts that a student's own output does not have


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of a network: its name, the grid of its positions ((height, width), (tokens,) or ()), and its channels.

    `heads` is the number of attention heads of its last block, and `qkv_width` the number of channels of this block's queries;
    both are 0 without attention. With `has_steps`, its positions are the steps of a sequence: their number follows the
    length of the examples, `grid` has that of typical ones, and some may be padding.
    """

    name: str
    grid: tuple[int, ...]
    channels: int
    heads: int = 0
    qkv_width: int = 0
    has_steps: bool = False

    @property
    def positions(self) -> int:
        """The number of positions; a vector has one."""
        return prod(self.grid)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The properties of a network that a loss is built from: classes, stages in order of depth, shapes of weights by name.

    `sequences` maps each label sequence to its number of classes; `classes` is the number of the sequence that a loss compares.
    `steps` maps each label sequence to its number of steps for examples of typical length. `head_stages` are the stages whose
    features the network's `head` takes, if it has one. `sequence` is the label sequence that a loss compares.
    """

    classes: int
    stages: tuple[Stage, ...] = ()
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    head_stages: tuple[str, ...] = ()
    sequence: str = ""

    @property
    def stages_of_steps(self) -> frozenset[str]:
        """The names of the stages whose positions are steps."""
        return frozenset(stage.name for stage in self.stages if stage.has_steps)

    def of(self, name: str) -> Outline:
        """Return the outline for a loss that compares the label sequence `name`."""
        return replace(self, classes=self.sequences[name], sequence=name)


@dataclass(frozen=True, kw_only=True)
class Output:
    """One label sequence for a batch, logits `[batch, steps, classes]`, and the needed tensors of each stage by its name.

    `features` are `[batch, positions, channels]`; `pooled` `[batch, channels]` are their means over the positions; `maps`
    `[batch, positions]` are their mean squares over the channels (attention maps of Zagoruyko and Komodakis, 2017). `heads`
    are attention scores before the softmax, `[batch, heads, positions, positions]`. `qkv` are the queries, keys and values that
    they are computed from, `[batch, positions, 3 * width]`, those of all heads beside each other. `weights` are parameters by
    name.

    A teacher's output also has properties of the batch: `labels` `[batch, steps]`, -1 where unknown; `mask` `[batch, steps]`,
    False at padding (None: no padding); and `input_mask` `[batch, positions]`, the mask of the first ragged input. With sparse
    knowledge, a teacher's output has `top` instead of logits, which are then empty, or `drawn`: int64 classes `[batch, steps,
    samples]` that were drawn from its distribution. `decoded` are the labels int64 `[batch, steps]` that the task decodes from
    it, and `focus` `[batch, steps]` says how much each step matters to the task (None: all alike).
    `regions` `[batch, regions, 4]` are where the inputs have objects: left, top, right and bottom as shares of their width and
    height, all 0 behind the last one. `head` is the teacher's frozen head.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    pooled: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    qkv: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    mask: Tensor | None = None
    input_mask: Tensor | None = None
    top: TopClasses | None = None
    drawn: Tensor | None = None
    decoded: Tensor | None = None
    focus: Tensor | None = None
    regions: Tensor | None = None
    head: Head | None = None
