"""The student's features through its teacher's frozen head, against the teacher's own outputs (CrossKD; Wang et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Loss, position_mask
from tutelage.losses._vectors import adapted, precise
from tutelage.losses.ld import focused_divergence
from tutelage.losses.pkd import standardised
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
NEEDS: frozenset[Need] = frozenset({"features", "head", "logits"})
SEQUENCES = "each"


class Config(PluginConfig):
    """The head is the teacher's own; there are no options."""


class CrossHead(nn.Module):
    """The loss of `ld` between the teacher's outputs and those of its head for the student's features.

    The features are those of the stages that the head takes. A linear adapter gives them the teacher's channels, and each
    channel the mean and deviation of the teacher's over the batch. The head is frozen: gradients pass through it to the
    student, whose own head learns from the labels alone, so that labels and teacher do not contradict each other there.
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]], sequence: str, temperature: float) -> None:
        super().__init__()
        self.pairs, self.sequence, self.temperature = pairs, sequence, temperature
        self.adapters = nn.ModuleList(
            nn.Identity() if own.channels == other.channels else nn.Linear(own.channels, other.channels) for own, other in pairs
        )

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        maps = []
        for (own, other), adapter in zip(self.pairs, self.adapters, strict=True):
            features, target = precise(student.features[own.name]), precise(teacher.features[other.name])
            mask = position_mask(teacher, own, features.shape[1])
            maps.append(in_layout(restyled(adapted(adapter, features), target, mask), own))
        assert teacher.head is not None
        return focused_divergence(teacher.head(maps)[self.sequence], teacher, self.temperature)


def restyled(features: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return features `[batch, positions, channels]` with the mean and deviation of the target's channels; padding is 0."""
    real = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device) if mask is None else mask
    wanted = target[real]
    styled = standardised(features[real]) * wanted.std(dim=0, correction=0) + wanted.mean(dim=0)
    placed: Tensor = features.new_zeros(features.shape).masked_scatter(real.unsqueeze(-1), styled)
    return placed


def in_layout(features: Tensor, stage: Stage) -> Tensor:
    """Return features as the stage itself gives them: maps `[batch, channels, height, width]`, or steps.

    A grid may be coarser than that of the outline, as of images of half the size.
    """
    if len(stage.grid) != 2:
        return features
    ratio = (features.shape[1] / stage.positions) ** 0.5
    maps: Tensor = features.transpose(1, 2).unflatten(2, (round(ratio * stage.grid[0]), -1))
    return maps


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for networks whose heads do not take features of equal grids."""
    pairs = list(zip(_head_stages("student", student), _head_stages("teacher", teacher), strict=False))
    grids = [tuple(one.grid for one in pair) for pair in pairs]
    if len(student.head_stages) != len(teacher.head_stages) or any(own != other for own, other in grids):
        raise InputError(
            f"loss 'cross_kd' gives the student's features to the teacher's head, whose grids are {_grids(teacher)}; the "
            f"student's are {_grids(student)}. Give both networks the same stages and levels, or use pkd."
        )
    return CrossHead(pairs, teacher.sequence, temperature)


def _head_stages(who: str, outline: Outline) -> list[Stage]:
    by_name = {one.name: one for one in outline.stages}
    if not outline.head_stages or not set(outline.head_stages) <= set(by_name):
        raise InputError(
            f"loss 'cross_kd' needs networks with `head` and `head_stages`, the stages that it takes, as model 'detector' has "
            f"them; the {who} has none that is compared. Use pkd or fitnet."
        )
    return [by_name[name] for name in outline.head_stages]


def _grids(outline: Outline) -> str:
    return ", ".join(" × ".join(map(str, one.grid)) for one in _head_stages("network", outline))
