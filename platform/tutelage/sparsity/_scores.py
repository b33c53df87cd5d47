"""Scores of the importance of coupled channels, as functions of a DepGraph group; the lowest are removed first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning import importance
from torch_pruning.pruner import function

from tutelage.sparsity import Calibration

Score = Literal["l2", "l1", "bn_scale", "taylor", "random"]
Importance = Callable[[Any], Tensor | None]

DESCRIPTION = (
    "what makes a channel important. l2, l1: sum of squares or of absolute values of the weights coupled to it, averaged over "
    "its layers; bn_scale: scale of its batch norm (Liu et al., 2017), l2 where there is none; taylor: square of the change of "
    "the loss without it, to first order, averaged over eight batches (Molchanov et al., 2019); random: numbers drawn by "
    "the seed, a control for the other scores"
)
BATCHES = 8  # of training examples over which the changes of the loss are averaged


def score_of(kind: Score, model: nn.Module, calibration: Calibration) -> Importance:
    """Return the score `kind` for a network; `taylor` leaves gradients in it, which `model.zero_grad()` removes."""
    norm = _PerChannel(importance.GroupMagnitudeImportance(p=1 if kind == "l1" else 2))
    if kind == "bn_scale":
        return _BatchNormScale(norm)
    if kind == "random":
        return _Random(calibration.seed)
    if kind == "taylor":
        return _Taylor(model, calibration.losses(BATCHES))
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


class _Taylor:
    """The squared change of the loss without a channel, to first order, averaged over batches (Molchanov et al., 2019).

    Think of each channel as multiplied by a factor of 1 where it is read. The loss's derivative by this factor is the sum of
    weight times gradient over the weights that read the channel. If no linear layer or convolution reads it, the weights that
    compute it are used.
    """

    def __init__(self, model: nn.Module, losses: Iterable[Tensor]) -> None:
        layers = [one for one in model.modules() if isinstance(one, nn.Linear | _ConvNd)]
        read, given = ({layer: list[Tensor]() for layer in layers} for _ in range(2))
        for loss in losses:
            model.zero_grad(set_to_none=True)
            loss.backward()
            for layer in layers:
                inputs, outputs = _derivatives(layer)
                read[layer].append(inputs)
                given[layer].append(outputs)
        self._read, self._given = ({layer: torch.stack(rows) for layer, rows in one.items() if rows} for one in (read, given))

    def __call__(self, group: Any) -> Tensor | None:
        reads = [(item, self._read) for item in group.items if item.dep.handler in _READS]
        gives = [(item, self._given) for item in group.items if item.dep.handler in _GIVES]
        known = [one for one in reads or gives if None not in one[0].root_idxs]  # None: not a channel of this group
        found = [(item, of[item.dep.target.module]) for item, of in known if item.dep.target.module in of]
        if not found:
            return None
        total = torch.zeros(len(found[0][1]), len(group[0].idxs), device=found[0][1].device)
        for item, derivatives in found:
            total.index_add_(1, torch.tensor(item.root_idxs, device=total.device), derivatives[:, item.idxs].to(total))
        return total.square().mean(dim=0)


_READS = (function.prune_conv_in_channels, function.prune_linear_in_channels)
_GIVES = (function.prune_conv_out_channels, function.prune_linear_out_channels)


def _derivatives(layer: nn.Linear | _ConvNd) -> tuple[Tensor, Tensor]:
    """Return the loss's derivatives by factors of a layer's inputs, `[inputs]`, and of its outputs, `[outputs]`.

    A weight without gradient, because it is frozen or does not reach the loss, counts as 0.
    """
    weight, bias = layer.weight.detach(), layer.bias
    products = torch.zeros_like(weight) if layer.weight.grad is None else weight * layer.weight.grad
    parts, transposed = getattr(layer, "groups", 1), getattr(layer, "transposed", False)
    split = products.reshape(parts, len(products) // parts, products.shape[1], -1).sum(dim=-1)  # [groups, dim 0, dim 1]
    by_first, by_second = split.sum(dim=2).flatten(), split.sum(dim=1).flatten()
    inputs, outputs = (by_first, by_second) if transposed else (by_second, by_first)
    return inputs, outputs if bias is None or bias.grad is None else outputs + bias.detach() * bias.grad
