"""Ranks of channels with which torch-pruning removes exactly the requested number, and never a whole layer.

torch-pruning compares scores with a threshold. It removes all channels whose scores equal the threshold, and none of a layer
whose scores all lie below it. Different ranks for all channels avoid both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning.pruner import BasePruner

from tutelage.sparsity._by_layer import value_for
from tutelage.sparsity._scores import Importance


@dataclass(frozen=True)
class Thresholds:
    """The scores from which on channels are kept: `own` by layer, `default` for all others; None is no limit."""

    default: float | None = None
    own: Mapping[nn.Module, float] = field(default_factory=dict)

    @property
    def are_given(self) -> bool:
        """Whether any layer has a threshold."""
        return self.default is not None or bool(self.own)

    def of(self, layer: nn.Module) -> float:
        """Return the threshold of a layer."""
        return self.own.get(layer, math.inf if self.default is None else self.default)


NO_THRESHOLDS = Thresholds()


class Ranks:
    """A score that is 0 to n - 1 for the n `removed` channels and higher for all others; made for one pruner and one network.

    `scores` are those of each group by its first layer; a removed channel is a position in all of them together.
    """

    def __init__(self, scores: Mapping[nn.Module, Tensor], removed: Sequence[int]) -> None:
        widths = [len(own) for own in scores.values()]
        ranks = torch.arange(sum(widths)) + sum(widths)
        ranks[torch.tensor(removed, dtype=torch.long)] = torch.arange(len(removed))
        self.share = max(0.0, len(removed) - 0.5) / max(1, sum(widths))  # by which the library removes exactly these
        self._ranks = dict(zip(scores, ranks.split(widths), strict=True))

    def __call__(self, group: Any) -> Tensor | None:
        """Return the ranks of a group's channels; None for a group without scores."""
        own = self._ranks.get(group[0].dep.target.module)
        return None if own is None else own.repeat(len(group[0].idxs) // len(own)).float()


class WidthRanks(Ranks):
    """Ranks by which each group keeps a given number of channels, those with the highest scores.

    `found` has the scores and the number by the first layer of a group; of equal scores, the earlier channels are removed.
    """

    def __init__(self, pruner: BasePruner, found: Mapping[nn.Module, tuple[Tensor, int]]) -> None:
        layers = [layer for layer in scores_by_layer(pruner, pruner.importance) if layer in found]
        removed, before = list[int](), 0
        for scores, kept in (found[layer] for layer in layers):
            weakest = scores.argsort(stable=True)[: len(scores) - kept]
            removed += (weakest + before).tolist()
            before += len(scores)
        super().__init__({layer: found[layer][0] for layer in layers}, removed)


class NetworkRanks(Ranks):
    """Ranks by which the weakest channels of a network are removed.

    The `share` (0 to 1) of all channels with the lowest scores is removed; a score is a multiple of its layer's mean. Of equal
    scores, the earlier ones are removed. A layer loses at most the share `most`, never all channels, and none at or above its
    threshold; if these limits allow no more, less than the share is removed. With `round_to`, the width of every layer
    is then rounded to a multiple of it, but not to 0: to the nearest one, or up with thresholds. The share
    is that of `whole_widths`, the widths before earlier removals, where they are given: only the rest of it is removed.
    """

    def __init__(
        self, pruner: BasePruner, score: Importance, share: float, most: float, thresholds: Thresholds = NO_THRESHOLDS,
        whole_widths: Mapping[nn.Module, int] = MappingProxyType({}), round_to: int = 1,
    ) -> None:  # fmt: skip
        scores = scores_by_layer(pruner, score)
        layers = list(scores)
        flat = torch.cat([torch.zeros(0), *scores.values()])
        owners = [number for number, layer in enumerate(layers) for _ in scores[layer]]
        whole = [whole_widths.get(layer, len(scores[layer])) for layer in layers]
        gone = [width - len(scores[layer]) for width, layer in zip(whole, layers, strict=True)]
        left = [min(n - g - 1, int(most * n) - g) for n, g in zip(whole, gone, strict=True)]
        wanted, removed = int(share * sum(whole)) - sum(gone), list[int]()
        for channel in flat.argsort(stable=True).tolist():
            owner = owners[channel]
            is_low = float(flat[channel]) < thresholds.of(layers[owner])
            if len(removed) < wanted and left[owner] > 0 and is_low:
                removed.append(channel)
                left[owner] -= 1
        if round_to > 1:
            removed = _rounded(removed, flat, owners, round_to, is_up=thresholds.are_given)
        super().__init__(scores, removed)


def _rounded(removed: Sequence[int], flat: Tensor, owners: Sequence[int], round_to: int, *, is_up: bool) -> list[int]:
    """Return the removed channels such that each layer keeps a multiple of `round_to`; a narrower layer stays whole."""
    widths, losses = Counter(owners), Counter(owners[channel] for channel in removed)
    left = {}
    for owner, width in widths.items():
        kept = width - losses[owner]
        left[owner] = width - min(width, _multiple(kept, round_to, is_up=is_up))
    found = list[int]()
    for channel in torch.argsort(flat, stable=True).tolist():
        if left[owners[channel]] > 0:
            found.append(channel)
            left[owners[channel]] -= 1
    return found


def rounded_width(width: int, share: float, round_to: int) -> int:
    """Return how many of `width` channels stay without a share of them, as `sparsity.amount` leaves of every layer.

    At least one stays, and with `round_to` the nearest multiple of it. Without it, the number is rounded down.
    """
    if round_to == 1:
        return max(1, int(width * (1 - share)))
    return min(width, _multiple(max(1, width - int(share * width)), round_to, is_up=False))


def _multiple(kept: int, round_to: int, *, is_up: bool) -> int:
    return round_to * max(1, math.ceil(kept / round_to) if is_up else math.floor(kept / round_to + 0.5))


def thresholds_of(
    pruner: BasePruner, names: Mapping[nn.Module, str], thresholds: Mapping[str, float]
) -> dict[nn.Module, float]:  # fmt: skip
    """Return `thresholds`, given by names or patterns of layers, by the first layer of each one's group."""
    found: dict[nn.Module, float] = {}
    for group in pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types):
        outputs = [dep.target.module for dep, _ in group if pruner.DG.is_out_channel_pruning_fn(dep.handler)]
        own = value_for(thresholds, [names[one] for one in outputs if one in names])
        if own is not None:
            found[group[0].dep.target.module] = own
    return found


def whole_widths(pruner: BasePruner, shapes: Mapping[nn.Module, tuple[int, ...]]) -> dict[nn.Module, int]:
    """Return the number of scores of each layer when its weight had its shape in `shapes`; for others, the present one."""
    found = {}
    for group in pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types):
        layer = group[0].dep.target.module
        shape = shapes.get(layer)
        outputs = shape[1 if getattr(layer, "transposed", False) else 0] if shape else pruner.DG.get_out_channels(layer)
        found[layer] = outputs // pruner._get_channel_groups(group)
    return found


def fewest_to_keep_one(share: float) -> int:
    """Return the smallest number of channels of which the library keeps one when it removes this share.

    From fewer channels it would have to remove all, and removes none.
    """
    return next(number for number in count(1) if int(number * (1 - share)))


def scores_by_layer(pruner: BasePruner, score: Importance) -> dict[nn.Module, Tensor]:
    """Return the scores of each group by its first layer; the parts of a grouped convolution lose the same channels."""
    found: dict[nn.Module, Tensor] = {}
    for group in pruner.DG.get_all_groups(ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types):
        own = score(group)
        if own is not None:
            found[group[0].dep.target.module] = _relative(own.view(pruner._get_channel_groups(group), -1).mean(dim=0).cpu())
    return found


def _relative(scores: Tensor) -> Tensor:
    return scores / scores.mean().clamp(min=torch.finfo(scores.dtype).tiny)
