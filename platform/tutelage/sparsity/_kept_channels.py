"""Removal of the channels with the lowest scores, where each coupled group keeps a given number of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning.pruner import BasePruner

from tutelage.sparsity import Calibration
from tutelage.sparsity._ranking import WidthRanks, scores_by_layer
from tutelage.sparsity._scores import Score, score_of
from tutelage.sparsity._tracing import Names, parts, plain_pruner, removed, traced

UNSHARED = (  # why the sandwich rule cannot be used
    "its channels cannot share the weights of a whole network, as in a grouped convolution. "
    "Set sparsity.ladder.sandwich: false."
)


def channel_scores(kind: Score, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """Return the scores of the channels of each coupled group, by the name of its first layer."""
    score, found = score_of(kind, model, calibration), dict[str, Tensor]()
    names, was_training = {module: name for name, module in model.named_modules()}, model.training
    with traced(model):
        for part, seen, kept in parts(model.eval(), calibration.arguments):
            plain = plain_pruner(part, seen, score, kept)
            found |= {names[layer]: own for layer, own in scores_by_layer(plain, score).items()}
    model.zero_grad(set_to_none=True)
    model.train(was_training)
    return found


def keep_channels(
    model: nn.Module, calibration: Calibration, scores: Mapping[str, Tensor], kept: Mapping[str, int]
) -> nn.Module:
    """Return `model` with only the `kept` channels of each group that have the highest scores, changed in place.

    Groups are named by their first layers, as in `channel_scores`.
    """

    def pruner(part: nn.Module, seen: tuple[Tensor, ...], ends: list[nn.Module], names: Names) -> BasePruner:
        found = {layer: (scores[name], kept[name]) for layer, name in names.items() if name in scores}
        ranks = WidthRanks(plain_pruner(part, seen, _all_equal, ends), found)
        return plain_pruner(part, seen, ranks, ends, ranks.share)

    return removed(model, calibration.arguments, pruner)


def _all_equal(group: Any) -> Tensor:
    return torch.ones(len(group[0].idxs))
