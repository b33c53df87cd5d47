"""The update rule of each parameter, of a network and of its distillation loss."""

from __future__ import annotations

from typing import Literal

import pytest
from torch import nn

from tutelage.spec.sections import RecipeConfig
from tutelage.training import optimizers


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_every_parameter_is_stepped_once_and_no_bias_or_norm_decays(name: Literal["adamw", "muon", "sgd"]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
    adapter = nn.Sequential(nn.Linear(4, 8), nn.Conv2d(8, 8, 1))
    recipe = RecipeConfig(optimizer=name, weight_decay=0.1)
    optimizer = optimizers.optimizer(recipe, list(network.parameters()), list(adapter.parameters()))
    stepped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(stepped) == sorted(id(p) for part in (network, adapter) for p in part.parameters())
    for group in optimizer.param_groups:
        assert all((p.ndim > 1) is (group["weight_decay"] > 0) for p in group["params"])


def test_muon_steps_hidden_matrices_and_adamw_the_other_parameters() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    adapter = nn.Linear(4, 8)
    optimizer = optimizers.optimizer(RecipeConfig(optimizer="muon"), list(network.parameters()), list(adapter.parameters()))
    orthogonal = {id(p) for group in optimizer.param_groups if not group["adamw"] for p in group["params"]}
    assert orthogonal == {id(network[1].weight), id(adapter.weight)}


def test_the_sum_of_rates_is_that_of_all_steps() -> None:
    cycle, steps = (RecipeConfig(schedule=name, learning_rate=0.5) for name in ("one_cycle", "step"))
    assert optimizers.sum_of_rates(cycle, 4) == pytest.approx(0.5 * (1.0 + 0.75 + 0.5 + 0.25))
    assert optimizers.sum_of_rates(steps, 7) == pytest.approx(0.5 * (4.0 + 0.1 + 0.01 + 0.001))
