"""The importance of the coupled channels of a group; the lowest is removed first. A score is a function of a DepGraph group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_pruning import importance

from tutelage.sparsity import Calibration

Score = Literal["l2", "l1", "bn_scale", "taylor", "random"]
Importance = Callable[[Any], Tensor | None]

DESCRIPTION = (
    "what makes a channel important. l2, l1: norm of all weights coupled to it; bn_scale: scale of its batch norm (Liu et al., "
    "2017), the l2 norm where there is none; taylor: change of the loss without it, to first order over eight batches "
    "(Molchanov et al., 2019); random: a draw by the seed, the control of every other score"
)
BATCHES = 8  # of training examples over which gradients are summed


def score_of(kind: Score, model: nn.Module, calibration: Calibration) -> Importance:
    """Return the score `kind` for a network; `taylor` leaves gradients in it, which `model.zero_grad()` removes."""
    norm = _PerChannel(importance.GroupMagnitudeImportance(p=1 if kind == "l1" else 2))
    if kind == "bn_scale":
        return _BatchNormScale(norm)
    if kind == "random":
        return _Random(calibration.seed)
    if kind == "taylor":
        _sum_gradients(model, calibration.losses(BATCHES))
        return _PerChannel(importance.GroupTaylorImportance())
    return norm


class _PerChannel:
    """A score of the library with one number for each channel; if a flattening follows, the library appends zeros."""

    def __init__(self, score: Importance) -> None:
        self._score = score

    def __call__(self, group: Any) -> Tensor | None:
        found = self._score(group)
        return None if found is None else found[: len(group[0].idxs)]


class _BatchNormScale:
    def __init__(self, otherwise: Importance) -> None:
        self._scale, self._otherwise = _PerChannel(importance.BNScaleImportance()), otherwise

    def __call__(self, group: Any) -> Tensor | None:
        found = self._scale(group)
        return self._otherwise(group) if found is None else found


class _Random:
    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, group: Any) -> Tensor:
        _, channels = group[0]
        return torch.rand(len(channels), generator=self._generator)


def _sum_gradients(model: nn.Module, losses: Iterable[Tensor]) -> None:
    model.zero_grad(set_to_none=True)
    for loss in losses:
        loss.backward()
    for parameter in model.parameters():
        if parameter.grad is None:  # of a frozen weight, or of one that the loss does not reach
            parameter.grad = torch.zeros_like(parameter)
