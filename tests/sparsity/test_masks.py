"""Methods that set single weights to zero: which ones, how many, and that they stay zero."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.sparsity import Calibration, magnitude, n_m
from tutelage.sparsity._masks import matrices, smallest_removed

INPUTS = torch.randn(6, 8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def calibration(steps: int = 40) -> Calibration:
    return Calibration(arguments=(INPUTS[:2],), steps=steps, batches=lambda count: [(INPUTS,)][:count])


def zeros(tensor: Tensor) -> int:
    return int((tensor == 0).sum())


def test_the_smallest_scores_are_removed_over_all_weights_together() -> None:
    masks = smallest_removed({"a": torch.tensor([[3.0, 1.0]]), "b": torch.tensor([2.0, 2.0, 9.0])}, 0.5)
    assert masks["a"].tolist() == [[True, False]] and masks["b"].tolist() == [False, True, True]
    assert all(mask.all() for mask in smallest_removed({"a": torch.ones(4)}, 0.2).values()), "a fifth of four is less than one"


def test_shared_and_attention_weights_count_once_and_biases_not_at_all() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.attention, self.conv, self.gru = nn.MultiheadAttention(4, 2), nn.Conv1d(4, 4, 3), nn.GRU(4, 4)

    assert set(matrices(Odd())) == {
        "head.weight", "first.weight", "attention.in_proj_weight", "attention.out_proj.weight", "conv.weight",
        "gru.weight_ih_l0", "gru.weight_hh_l0",
    }  # fmt: skip


def test_the_schedule_is_the_cubic_one() -> None:
    config = magnitude.Config(first=0.25, last=0.75, times=4)
    assert magnitude.cubic(config, 0.8, 80) == pytest.approx(
        {30: 0.8 * (1 - 0.75**3), 40: 0.8 * (1 - 0.5**3), 50: 0.8 * (1 - 0.25**3), 60: 0.8}
    )
    assert magnitude.cubic(magnitude.Config(first=0.0, last=1.0, times=100), 0.5, 3)[3] == 0.5
    with pytest.raises(ValueError, match=r"first 0.5 is not below last 0.5"):
        magnitude.Config(first=0.5, last=0.5)


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_a_trained_network_loses_exactly_its_share_and_its_zeros_last(scope: Any) -> None:
    method, model = magnitude.build(magnitude.Config(scope=scope), 0.7), network()
    method.start(model, calibration())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen: list[int] = []
    for _ in range(40):
        optimizer.zero_grad()
        (model(INPUTS) - INPUTS[:, :4]).square().mean().backward()
        optimizer.step()
        method.after_step(model, 0.1)
        seen.append(sum(zeros(weight) for weight in matrices(model).values()))
    assert seen[:7] == [0] * 7 and seen == sorted(seen) and len(set(seen)) > 10
    (point,) = method.finish(model, calibration())
    counts = {name: zeros(weight) for name, weight in matrices(point.model).items()}
    by_layer = {"0.weight": math.floor(0.7 * 128), "2.weight": math.floor(0.7 * 64)}
    assert counts == by_layer if scope == "layer" else sum(counts.values()) == math.floor(0.7 * 192)


def test_the_smallest_weights_of_the_network_become_zero() -> None:
    method, model = magnitude.build(magnitude.Config(), 0.5), network()
    before = torch.cat([weight.detach().abs().flatten() for weight in matrices(model).values()])
    (point,) = method.finish(model, calibration())
    after = torch.cat([weight.detach().flatten() for weight in matrices(point.model).values()])
    assert before[after == 0].max() <= before[after != 0].min()


@pytest.mark.parametrize(("amount", "m", "n"), [(0.5, 4, 2), (0.25, 4, 3), (0.95, 8, 1), (0.0, 4, 4)])
def test_every_group_retains_its_n_largest_weights(amount: float, m: int, n: int) -> None:
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 8))
    whole = [layer.weight.detach().clone() for layer in (model[0], model[2])]
    method = n_m.build(n_m.Config(m=m), amount)
    method.remove(model, Calibration(arguments=(torch.zeros(1, 8, 8, 8),)))
    for layer, before in zip((model[0], model[2]), whole, strict=True):
        weights, old = (one.movedim(1, -1).reshape(-1, m) for one in (layer.weight.detach(), before))
        assert ((weights != 0).sum(dim=1) == n).all()
        assert torch.equal(weights.abs().sum(dim=1), old.abs().sort(dim=1).values[:, m - n :].flip(1).sum(dim=1)) or (
            torch.allclose(weights.abs().sum(dim=1), old.abs().topk(n, dim=1).values.sum(dim=1))
        )


def test_an_activation_score_multiplies_by_the_norm_of_the_input() -> None:
    inputs = torch.randn(50, 4) * torch.tensor([1.0, 10.0, 0.1, 1.0])
    model = nn.Sequential(nn.Linear(4, 6))
    score = model[0].weight.detach().abs() * inputs.norm(dim=0)
    best = score.topk(2, dim=1).indices
    data = Calibration(arguments=(inputs[:2],), batches=lambda count: [(inputs[:20],), (inputs[20:],)])
    n_m.build(n_m.Config(score="activation"), 0.5).remove(model, data)
    kept = (model[0].weight != 0).nonzero()[:, 1].view(6, 2)
    assert torch.equal(kept, best.sort(dim=1).values)


def test_norms_of_a_convolution_are_over_examples_and_positions() -> None:
    images = torch.randn(3, 8, 5, 5)
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1, groups=2))
    norms = n_m.input_norms(model, n_m.layers(model, 4), [(images,)])
    torch.testing.assert_close(norms["0"], images.movedim(1, 0).flatten(1).norm(dim=1))
    inner = model[0](images).detach().movedim(1, 0).flatten(1).square().sum(dim=1)
    torch.testing.assert_close(norms["1"], (inner[:4] + inner[4:]).sqrt())


@pytest.mark.parametrize(
    "layer", [nn.Conv1d(8, 4, 3), nn.Conv2d(8, 4, 3), nn.Conv3d(8, 4, 3)], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize("score", ["magnitude", "activation"])
def test_convolutions_of_any_number_of_axes_lose_weights_along_their_inputs(layer: Any, score: Any) -> None:
    inputs = torch.randn(2, 8, *[5] * (layer.weight.ndim - 2))
    data = Calibration(arguments=(inputs,), batches=lambda count: [(inputs,)])
    n_m.build(n_m.Config(score=score), 0.5).remove(nn.Sequential(layer), data)
    left = (layer.weight != 0).view(4, 2, 4, -1).sum(dim=2)
    assert torch.equal(left, torch.full_like(left, 2))


def test_a_group_that_divides_no_layer_is_an_error_before_the_training() -> None:
    with pytest.raises(InputError, match="no layer has a number of inputs that 5 divides"):
        n_m.build(n_m.Config(m=5), 0.5).presized(network(), (INPUTS[:2],))
