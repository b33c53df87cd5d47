from __future__ import annotations

import torch
from torch import nn

from tutelage.training.ema import WeightAverage


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


def test_the_average_is_the_weighted_mean_of_the_steps() -> None:
    net = model()
    average = WeightAverage(net, 0.9)
    expected = net[0].weight.detach().clone()
    for step in range(1, 200):
        with torch.no_grad():
            net[0].weight.add_(torch.randn(3, 3))
        average.update(net)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    torch.testing.assert_close(average.weights["0.weight"], expected)


def test_the_average_replaces_the_weights_within_a_block_or_permanently() -> None:
    net = model()
    average = WeightAverage(net, 0.5)
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1.0)
    with average.in_place_of(net):
        assert torch.equal(net[0].weight, before)
    assert torch.equal(net[0].weight, before + 1.0)
    average.put_into(net)
    assert torch.equal(net[0].weight, before)


def test_the_average_resumes_from_its_state() -> None:
    net, other = model(), model()
    average = WeightAverage(net, 0.99)
    average.update(net)
    restored = WeightAverage(other, 0.99)
    restored.restore(average.state())
    for held in (average, restored):
        with torch.no_grad():
            net[0].weight.fill_(2.0)
        held.update(net)
    assert torch.equal(average.weights["0.weight"], restored.weights["0.weight"])
    assert average.steps == restored.steps == 2
