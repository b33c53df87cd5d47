"""The order in which coupled groups lose units: first those without which the loss grows least.

Each group alone is made narrower on a copy of the network: its units are really removed, and batch norms are measured again
(Li et al., EagleEye, 2020). A greedy knapsack then takes units where the loss grows least for what is saved, as in Shen et
al. (HALP, 2022). So every layer gets its own share.

Example: a layer whose removal saves 100 MACs for 0.1 nats goes before one that saves 100 MACs for 0.5 nats.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from tutelage.networks import cost
from tutelage.sparsity import Calibration
from tutelage.sparsity._batch_norm import recalibrate

Cost = Literal["macs", "size_bytes", "latency_ms"]
Cut = Callable[[nn.Module, Mapping[str, int]], nn.Module]  # a network that may be changed, and the units kept by group
LEVELS = (0.25, 0.5, 0.75, 1.0)  # shares of the units that a group may lose, at which the loss is measured
BATCHES = 4  # of training examples by which batch norms are measured again for each of these
KEPT = 0.1  # a group keeps at least this share of its units
DESCRIBED = 8  # groups in a description
_WORST = 1e9  # nats, in place of a loss that is not finite


@dataclass(frozen=True, kw_only=True)
class Level:
    """The network with one group reduced to `kept` units: the cost that it saves, and its loss."""

    kept: int
    saved: float
    loss: float


class Order:
    """The units of a network's groups in the order of their removal, measured at the first removal of a training.

    `steps` are (group, number of its units kept), one after the other. `whole_cost` is the cost of the whole network.
    """

    def __init__(self, kind: Cost, round_to: int = 1) -> None:
        self._kind, self._round_to = kind, round_to
        self.steps: list[tuple[str, int]] = []
        self.whole_cost, self.whole_widths, self.position = 0.0, dict[str, int](), 0

    def kept(
        self, model: nn.Module, widths: Mapping[str, int], cut: Cut, amount: float, calibration: Calibration
    ) -> dict[str, int]:  # fmt: skip
        """Return how many units each group of `widths` keeps so that the share `amount` of the whole network's cost is saved.

        These are the fewest steps that save it, found by bisection on networks that are really cut, or all steps if all save
        too little. A later call continues in the same order.
        """

        def cost_after(position: int) -> float:
            return self._cost(cut(copy.deepcopy(model), self._kept_at(position, widths)), calibration)

        if not self.whole_cost:
            self._measure(model, widths, cut, calibration)
        goal, low, high = (1.0 - amount) * self.whole_cost, self.position, len(self.steps)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if cost_after(middle) <= goal else (middle + 1, high)
        self.position = low
        return self._kept_at(low, widths)

    @property
    def description(self) -> str:
        """The number of units that the first groups keep, as text."""
        left = self._kept_at(self.position, self.whole_widths)
        groups = [f"{name} {left[name]} of {whole}" for name, whole in self.whole_widths.items()]
        more = len(groups) - DESCRIBED
        return ", ".join(groups[:DESCRIBED]) + (f" and {more} more" if more > 0 else "")

    def _kept_at(self, position: int, widths: Mapping[str, int]) -> dict[str, int]:
        return {**widths, **dict(self.steps[:position])}

    def _measure(self, model: nn.Module, widths: Mapping[str, int], cut: Cut, calibration: Calibration) -> None:
        self.whole_widths = dict(widths)
        self.whole_cost, loss = self._cost(model, calibration), _finite(calibration.loss_of(model))
        levels = {name: [Level(kept=width, saved=0.0, loss=loss)] for name, width in widths.items()}
        for name, width in widths.items():
            for kept in measured_widths(width, self._round_to):
                smaller = cut(copy.deepcopy(model), {**widths, name: kept})
                recalibrate(smaller, calibration.batches(BATCHES))
                saved = self.whole_cost - self._cost(smaller, calibration)
                levels[name].append(Level(kept=kept, saved=saved, loss=_finite(calibration.loss_of(smaller))))
        self.steps = ordered(levels, self._round_to)

    def _cost(self, model: nn.Module, calibration: Calibration) -> float:
        if self._kind == "latency_ms":
            return calibration.latency_ms(model)
        if self._kind == "size_bytes":
            return cost.size(model)["size_bytes"]
        return cost.macs_for(model, calibration.arguments)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        steps = [list(step) for step in self.steps]
        return {"steps": steps, "cost": self.whole_cost, "widths": self.whole_widths, "position": self.position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue in the order of `state`."""
        self.steps = [(str(name), int(kept)) for name, kept in state["steps"]]
        self.whole_cost, self.position = float(state["cost"]), int(state["position"])
        self.whole_widths = dict(state["widths"])


def allowed_widths(width: int, round_to: int) -> list[int]:
    """Return the numbers of units that a group of `width` may keep, from the most, `width` itself, to the least."""
    least = max(round_to, math.ceil(KEPT * width))
    return [width, *(kept for kept in range(width - 1, least - 1, -1) if kept % round_to == 0)]


def measured_widths(width: int, round_to: int) -> list[int]:
    """Return those of the allowed numbers at which the loss is measured, falling; the last is the least allowed one."""
    smaller = allowed_widths(width, round_to)[1:]
    places = {math.ceil(level * len(smaller)) - 1 for level in LEVELS} if smaller else set()
    return [smaller[place] for place in sorted(places)]


def ordered(levels: Mapping[str, Sequence[Level]], round_to: int = 1) -> list[tuple[str, int]]:
    """Return the steps of all groups by the growth of the loss for each saved unit of cost, the smallest first.

    Between two levels the loss is taken as linear, and levels above the lower convex hull of their group are skipped, so that
    the steps of a group keep their order. Of equal ratios, the group that comes first in `levels` goes first.
    """
    found: list[tuple[float, str, int]] = []
    for name, own in levels.items():
        hull = lower_hull(own)
        for before, after in pairwise(hull):
            between = [kept for kept in allowed_widths(own[0].kept, round_to) if after.kept <= kept < before.kept]
            found += [(_slope(before, after), name, kept) for kept in between]
    return [(name, kept) for _, name, kept in sorted(found, key=lambda step: step[0])]


def lower_hull(levels: Sequence[Level]) -> list[Level]:
    """Return the levels on the lower convex hull of loss over saved cost, from the first level on."""
    hull = [levels[0]]
    for level in sorted(levels[1:], key=lambda one: one.saved):
        if level.saved <= hull[-1].saved:
            continue
        while len(hull) > 1 and _slope(hull[-1], level) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(level)
    return hull


def _slope(before: Level, after: Level) -> float:
    return (after.loss - before.loss) / (after.saved - before.saved)


def _finite(loss: float) -> float:
    return loss if math.isfinite(loss) else _WORST
