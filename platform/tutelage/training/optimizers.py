"""The schedules and optimisers of a recipe."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from tutelage.spec.sections import RecipeConfig
from tutelage.training.muon import Muon

WARM_UP_SHARE = 0.2
STEP_DECAYS = (0.625, 0.75, 0.875)


def one_cycle(progress: float) -> float:
    """Return the share of the peak learning rate at `progress` in [0, 1]: it rises up to 0.2, then falls to 0.

    A linear form of the one-cycle policy (Smith and Topin, 2018).
    """
    rise = progress / WARM_UP_SHARE
    fall = (1.0 - progress) / (1.0 - WARM_UP_SHARE)
    return max(0.0, min(rise, fall))


def step_decay(progress: float) -> float:
    """Return the share of the initial learning rate at `progress` in [0, 1]: a factor of 0.1 at 62.5, 75 and 87.5 %.

    The schedule of the CIFAR-100 distillation tables (Tian et al., 2020: epochs 150, 180 and 210 of 240).
    """
    return float(0.1 ** sum(progress >= decay for decay in STEP_DECAYS))


def sum_of_rates(recipe: RecipeConfig, steps: int) -> float:
    """Return the sum of the learning rates of a phase of `steps` steps."""
    return recipe.learning_rate * _sum_of_shares(recipe.schedule, steps)


@cache  # a tenth of a second for 50,000 steps, and every training of a process needs it
def _sum_of_shares(schedule: str, steps: int) -> float:
    share = SCHEDULES[schedule]
    return sum(share((step + 1) / (steps + 1)) for step in range(steps))


SCHEDULES = {"one_cycle": one_cycle, "step": step_decay}


def optimizer(recipe: RecipeConfig, parameters: list[nn.Parameter], adapters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the recipe's optimiser for a network's parameters and for the adapters of its loss.

    Biases and norms have no weight decay. With muon, the network's first and last weight matrices are updated by AdamW.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    matrices, learned = ([p for p in some if p.ndim > 1] for some in (parameters, adapters))
    spared = {"params": [p for p in (*parameters, *adapters) if p.ndim <= 1], "weight_decay": 0.0}
    if recipe.optimizer == "muon":
        ends, inner = [*matrices[:1], *matrices[1:][-1:]], matrices[1:-1]
        groups: list[dict[str, Any]] = [
            {"params": [*inner, *learned]},
            {"params": ends, "adamw": True},
            {**spared, "adamw": True},
        ]
        return Muon(groups, lr=rate, weight_decay=decay)
    groups = [{"params": [*matrices, *learned]}, spared]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)
