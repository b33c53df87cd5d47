"""Movement pruning: the sums in closed form, the schedule, exact zeros. A resumed training is tested in test_life."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tutelage.sparsity import Calibration
from tutelage.sparsity._masks import matrices
from tutelage.sparsity.movement import Config, Movement

INPUTS = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS @ torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def trained(model: nn.Module, method: Movement, steps: int = 40, rate: float = 0.05, momentum: float = 0.9) -> Movement:
    method.start(model, Calibration(arguments=(INPUTS[:2],), steps=steps))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    for _ in range(steps):
        loss = (model(INPUTS) - TARGETS).square().mean()
        assert method.penalty(model) is None  # type: ignore[func-returns-value]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        method.after_step(model, rate)
    return method


def test_the_score_of_a_linear_model_is_the_sum_of_minus_weight_times_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 3, bias=False)
    weight, expected = model.weight.detach().clone().double(), torch.zeros(3, 6, dtype=torch.double)
    inputs, targets = INPUTS.double(), TARGETS.double()
    for _ in range(5):
        gradient = 2 * (inputs @ weight.T - targets).T @ inputs / targets.numel()  # of the mean squared error
        expected -= weight * gradient
        weight -= 0.05 * gradient
    method = trained(model, Movement(Config(), 0.0), steps=5, momentum=0.0)
    torch.testing.assert_close(method.scores(model)["weight"].double(), expected, atol=1e-5, rtol=1e-5)


def test_a_small_weight_that_grows_stays_and_a_large_one_that_shrinks_goes() -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, 2.0]]))
    method = Movement(Config(first=0.1, last=0.5, times=1), 0.5)
    method.start(model, Calibration(arguments=(INPUTS[:2, :2],), steps=10))
    for _ in range(10):
        method.penalty(model)
        model.zero_grad(set_to_none=True)
        (0.5 * (model.weight - torch.tensor([[1.0, 0.5]])).square().sum()).backward()  # the first grows, the second shrinks
        with torch.no_grad():
            model.weight -= 0.02 * model.weight.grad
        method.after_step(model, 0.02)
    assert model.weight[0, 1] == 0.0 and 0.1 < model.weight[0, 0] < model.weight.new_tensor(2.0)


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_exactly_the_share_with_the_lowest_scores_is_zero_in_the_end(scope: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    method = trained(model, Movement(Config(scope=scope), 0.7))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)  # such as weights that are averaged over the last steps
    (point,) = method.finish(model, Calibration(arguments=(INPUTS[:2],)))
    counts = [int((weight == 0).sum()) for weight in matrices(point.model).values()]
    if scope == "layer":
        assert counts == [math.floor(0.7 * 96), math.floor(0.7 * 48)]
    assert sum(counts) == math.floor(0.7 * 96) + math.floor(0.7 * 48) or scope == "network"
    assert scope == "layer" or sum(counts) == math.floor(0.7 * 144)


def test_the_masks_change_only_at_the_times_of_the_schedule() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    method, seen = Movement(Config(first=0.2, last=0.6, times=4), 0.5), list[int]()
    method.start(model, Calibration(arguments=(INPUTS[:2],), steps=20))
    for _ in range(20):
        method.penalty(model)
        model.zero_grad(set_to_none=True)
        (model(INPUTS) - TARGETS).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad  # type: ignore[operator]
        method.after_step(model, 0.05)
        seen.append(sum(int((weight == 0).sum()) for weight in matrices(model).values()))
    cubic = [int(0.5 * (1 - (1 - time / 4) ** 3) * 144) for time in range(1, 5)]
    assert seen == [0] * 5 + [count for count in cubic[:3] for _ in range(2)] + [72] * 9
    masks = method.masks
    (point,) = method.finish(model, Calibration(arguments=(INPUTS[:2],)))
    assert point.amount == 0.5 and method.masks is masks, "after the last time, none changes"
