"""Which channels are removed by each score, and how many."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
import torch_pruning
from torch import nn

from tutelage.errors import InputError
from tutelage.models import keep_width
from tutelage.networks import cost
from tutelage.sparsity import Calibration
from tutelage.sparsity._scores import Score, score_of
from tutelage.sparsity.channels import Config, build, remove_channels

IMAGES = torch.randn(4, 1, 6, 6)


def network(width: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


def calibration(model: nn.Module, seed: int = 0) -> Calibration:
    def losses(count: int) -> Iterator[torch.Tensor]:
        return (model(IMAGES).square().mean() for _ in range(count))

    return Calibration(arguments=(IMAGES[:2],), seed=seed, losses=losses)


def kept(model: nn.Sequential, score: Any, share: float = 0.5, seed: int = 0) -> list[float]:
    """Return the marks of the first layer's channels that stay; each channel's bias is its number."""
    width = model[0].out_channels
    with torch.no_grad():
        model[0].bias.copy_(torch.arange(width))
    remove_channels(Config(score=score), model, calibration(model, seed), share)
    found: list[float] = model[0].bias.tolist()
    return found


@pytest.mark.parametrize("score", get_args(Score))
def test_every_score_removes_the_share_and_leaves_no_gradient(score: Any) -> None:
    model = network()
    assert len(kept(model, score, share=0.25)) == 6
    assert model[3].weight.shape == (6, 6, 3, 3) and model(IMAGES).shape == (4, 3)
    assert all(parameter.grad is None for parameter in model.parameters())
    predicted = build(Config(score=score), 0.25).presized(network(), (IMAGES[:2],))
    assert predicted is not None and cost.size(predicted)["params"] == cost.size(model)["params"]


def test_the_norm_counts_all_weights_coupled_to_a_channel() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(0.01)
        model[3].weight[:, [1, 4, 5, 6]] *= 100.0  # what reads channels 1, 4, 5 and 6
    assert kept(model, "l2") == [1, 4, 5, 6]


@pytest.mark.parametrize("allocation", ["uniform", "network"])
def test_channels_that_are_flattened_have_one_score_each(allocation: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3))
    with torch.no_grad():
        model[0].weight[[1, 4, 5, 6]] *= 0.01
        model[0].bias.copy_(torch.arange(8) * 1e-3)
        for channel in (1, 4, 5, 6):
            model[3].weight[:, channel * 16 : (channel + 1) * 16] *= 0.01
    remove_channels(Config(allocation=allocation), model, calibration(model), 0.5)
    torch.testing.assert_close(model[0].bias.detach(), torch.tensor([0.0, 2e-3, 3e-3, 7e-3]))
    assert model(IMAGES).shape == (4, 3)


def test_the_scale_of_the_batch_norm_decides_where_there_is_one() -> None:
    model = network()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([5.0, 0.1, 5.0, -5.0, 0.2, 0.0, -4.0, 0.3]))
    assert kept(model, "bn_scale") == [0, 2, 3, 6]


def test_a_channel_that_does_not_change_the_loss_goes_first_whatever_its_norm() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[[2, 3, 5, 7]] *= 50.0
        model[3].weight[:, [2, 3, 5, 7]] = 0.0  # nothing reads channels 2, 3, 5 and 7
    whole = model(IMAGES).detach()
    assert kept(model.eval(), "taylor") == [0, 1, 4, 6]
    assert kept(network(), "l2") != [0, 1, 4, 6] and whole.isfinite().all()


class Residual(nn.Module):
    """A sum whose channels are multiplied by `factors` wherever a layer reads them: two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.grouped, self.last = nn.Conv2d(6, 4, 3, groups=2), nn.Linear(6, 3)
        self.factors = torch.ones(6, 1, 1)
        nn.init.constant_(self.norm.bias, 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        x = (x + self.second(x * self.factors)) * self.factors
        found: torch.Tensor = self.last(x.mean(dim=(2, 3))) + self.grouped(x).mean(dim=(1, 2, 3)).unsqueeze(1)
        return found


def test_the_taylor_score_is_the_squared_derivative_by_a_factor_of_the_channel_averaged_over_batches() -> None:
    torch.manual_seed(0)
    model, batches = Residual().eval(), torch.randn(3, 5, 1, 6, 6)
    about = Calibration(arguments=(batches[0],), losses=lambda count: (model(one).exp().mean() for one in batches[:count]))
    score = score_of("taylor", model, about)
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=(batches[0],))
    found = score(graph.get_pruning_group(model.last, torch_pruning.prune_linear_in_channels, [*range(6)]))
    squares = []
    for one in batches:
        model.factors = torch.ones(6, 1, 1, requires_grad=True)
        model(one).exp().mean().backward()
        assert model.factors.grad is not None
        squares.append(model.factors.grad.flatten().square())
    torch.testing.assert_close(found, torch.stack(squares).mean(dim=0))


def test_random_channels_depend_on_the_seed_alone() -> None:
    first = kept(network(), "random", seed=3)
    torch.manual_seed(99)
    assert kept(network(), "random", seed=3) == first
    assert any(kept(network(), "random", seed=seed) != first for seed in (4, 5, 6))


@pytest.mark.parametrize("score", ["l2", "taylor", "bn_scale"])
def test_the_weakest_of_the_network_are_the_share_of_all_its_channels(score: Any) -> None:
    model = network(width=16)
    with torch.no_grad():
        model[3].weight *= 0.05  # one layer far below the other, which must not be left whole nor emptied
    remove_channels(Config(score=score, allocation="network"), model, calibration(model), 0.5)
    widths = [model[0].out_channels, model[3].out_channels]
    assert sum(widths) == 16 and min(widths) >= 4, "at most three quarters of a layer go"


def test_the_weakest_of_the_network_are_those_with_the_lowest_scores_of_all() -> None:
    model = network(width=16)
    with torch.no_grad():
        model[1].weight.fill_(1.0)
        model[1].weight[:3] = torch.tensor([0.1, 0.2, 0.0])
        model[0].bias.copy_(torch.arange(16))
    remove_channels(Config(score="bn_scale", allocation="network"), model, calibration(model), 3 / 32)
    assert model[0].bias.tolist() == [*range(3, 16)] and model[3].out_channels == 16


@pytest.mark.parametrize("options", [{}, {"allocation": "network"}, {"allocation": "sensitivity"}, {"threshold": 0.5}], ids=str)
def test_a_network_whose_layers_all_keep_their_width_is_an_error_before_a_training_and_at_its_start(options: Any) -> None:
    stream = nn.Sequential(keep_width(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 3))
    method, arguments = build(Config(**options), 0.5), (torch.randn(2, 4),)
    with pytest.raises(InputError, match=r"every layer must keep its width.*Take another sparsity method"):
        method.presized(stream, arguments)
    with pytest.raises(InputError, match="every layer must keep its width"):
        method.start(stream, Calibration(arguments=arguments))
    build(Config(**options), 0.0).start(stream, Calibration(arguments=arguments))


def test_a_removal_leaves_no_network_behind_in_the_library() -> None:
    for _ in range(3):
        kept(network(), "l2")
    defaults = inspect.signature(torch_pruning.pruner.BasePruner.__init__).parameters
    assert [defaults[name].default for name in ("in_channel_groups", "out_channel_groups", "num_heads")] == [{}, {}, {}]
