"""Penalties by proximal steps, coupled channels, batch norms measured again, and what the removal leaves of the function."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.sparsity import Calibration
from tutelage.sparsity._batch_norm import recalibrate
from tutelage.sparsity._tracing import groups
from tutelage.sparsity.channels import Config as ChannelsConfig
from tutelage.sparsity.channels import build as build_channels
from tutelage.sparsity.channels import remove_channels
from tutelage.sparsity.spr import Config, build
from tutelage.spec import loading
from tutelage.spec.domains import Choice
from tutelage.spec.sections import TrialConfig
from tutelage.training import loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.step_loss import StepLoss

IMAGES = torch.randn(6, 1, 8, 8)


class Coupled(nn.Module):
    """A residual sum, a depthwise convolution and a flattening couple the channels of five layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.hidden, self.output = nn.Linear(6 * 16, 5), nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.a(images))
        features = self.depthwise(features + self.b(features.relu()))
        pooled = functional.adaptive_avg_pool2d(features, 4).flatten(1)
        logits: Tensor = self.output(self.hidden(pooled).relu())
        return logits


def calibration() -> Calibration:
    return Calibration(arguments=(IMAGES[:2],), batches=lambda count: [(IMAGES[:3],), (IMAGES[3:],)][:count])


def by_hand(model: Coupled, channel: int) -> list[Tensor]:
    """Return all weights that are coupled to a channel of the residual stream."""
    return [
        model.a.weight[channel], model.a.bias[channel], model.norm.weight[channel], model.norm.bias[channel],
        model.b.weight[channel], model.b.bias[channel], model.b.weight[:, channel],
        model.depthwise.weight[channel], model.depthwise.bias[channel],
        model.hidden.weight[:, channel * 16 : (channel + 1) * 16],
    ]  # fmt: skip


def test_a_channel_has_the_norm_of_all_weights_coupled_to_it() -> None:
    model = Coupled()
    found = {group.width: group for group in groups(model, (IMAGES[:2],))}
    assert set(found) == {6, 5}, "the output layer's channels are in no group"
    for channel in range(6):
        weights = torch.cat([one.detach().flatten() for one in by_hand(model, channel)])
        torch.testing.assert_close(found[6].norms(model)[channel], weights.norm())


@pytest.mark.parametrize(
    ("model", "terms"),
    [
        ({"convnet": {"width": 4, "depth": 2}}, [{"stage1.0.weight": 0, "stage1.1.weight": 0, "stage2.0.weight": 1},
                                                {"stage2.0.weight": 0, "stage2.1.weight": 0, "head.2.weight": 1}]),
        ({"mlp": {"hidden": 8, "depth": 2}}, [{"stage1.0.weight": 0, "stage2.0.weight": 1},
                                             {"stage2.0.weight": 0, "head.weight": 1}]),
        ({"vit": {"width": 16, "depth": 1}}, [{"stage1.0.perceptron.0.weight": 0, "stage1.0.perceptron.2.weight": 1}]),
    ],
    ids=["filters and input channels", "neurons", "neurons of a transformer"],
)  # fmt: skip
def test_group_terms_are_of_filters_with_the_input_channels_that_read_them_and_of_neurons(
    context: TrainingContext, model: dict[str, Any], terms: list[dict[str, int]]
) -> None:
    network = checkpoint.seeded(context.architecture(model), 0)
    found = groups(network, context.splits["train"].take(slice(2)).arguments)
    axes = [{one.parameter: one.axis for one in group.slices if one.parameter.endswith("weight")} for group in found]
    assert sorted(axes, key=str) == sorted(terms, key=str)


def test_a_step_shortens_every_channel_by_the_rate_times_the_penalty_until_it_is_zero() -> None:
    model = Coupled()
    (stream,) = [group for group in groups(model, (IMAGES[:2],)) if group.width == 6]
    before = stream.norms(model)
    left = (1 - 0.1 * 0.3 * before.mean() / before).clamp(min=0)
    stream.scale(model, left)
    # weights that lie in two slices of one group (b reads and writes the stream) are shortened for each
    assert (stream.norms(model) <= before * left + 1e-6).all() and (stream.norms(model) < before).all()
    method = build(Config(group=1e6), 0.5)
    method.start(model, calibration())
    method.after_step(model, 0.1)
    assert not stream.norms(model).any(), "zeros are exact"


def test_the_group_step_is_the_closed_form() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    arguments = (torch.randn(2, 4),)
    method = build(Config(group=0.2), 0.5)
    method.start(model, Calibration(arguments=arguments, rates=2.0))
    before = [
        torch.cat([model[0].weight[c], model[0].bias[c : c + 1], model[2].weight[:, c]]).detach().norm() for c in range(3)
    ]
    method.after_step(model, 0.5)
    for channel, norm in enumerate(before):
        after = torch.cat([model[0].weight[channel], model[0].bias[channel : channel + 1], model[2].weight[:, channel]])
        assert float(after.detach().norm()) == pytest.approx(
            max(0.0, float(norm - 0.5 / 2.0 * 0.2 * sum(before) / 3)), abs=1e-6
        )


def test_l1_and_l2_steps_are_the_closed_forms_and_biases_stay() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    weight, bias = (one.detach().clone() for one in (model[0].weight, model[0].bias))
    method = build(Config(group=0.0, l1=0.4, l2=2.0), 0.5)
    method.start(model, Calibration(arguments=(torch.randn(2, 4),), rates=0.8))
    method.after_step(model, 0.5)
    share = 0.5 / 0.8
    expected = weight.sign() * (weight.abs() - share * 0.4 * weight.abs().mean()).clamp(min=0) / (1 + share * 2.0)
    torch.testing.assert_close(model[0].weight.detach(), expected)
    assert torch.equal(model[0].bias, bias) and (model[0].weight == 0).any()


def test_frozen_weights_have_no_penalty() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    model[2].requires_grad_(False)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    method = build(Config(group=0.4, l1=0.4, l2=1.0), 0.5)
    method.start(model, Calibration(arguments=(torch.randn(2, 4),)))
    method.after_step(model, 0.5)
    assert {name for name, weight in model.named_parameters() if torch.equal(weight, before[name])} == {
        "2.weight", "2.bias", "4.bias",  # the output layer's bias is coupled to no channel
    }  # fmt: skip


def test_removing_channels_that_are_zero_leaves_the_function_as_it_was() -> None:
    model = Coupled().eval()
    (stream,) = [group for group in groups(model, (IMAGES[:2],)) if group.width == 6]
    stream.scale(model, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0]))
    masked = copy.deepcopy(model)
    config = ChannelsConfig(allocation="network", threshold=1e-3)
    smaller = remove_channels(config, model, calibration(), 0.9)
    assert isinstance(smaller, Coupled) and smaller.a.out_channels == 3 and smaller.hidden.out_features == 5
    torch.testing.assert_close(smaller(IMAGES), masked(IMAGES), atol=1e-5, rtol=1e-5)


def test_a_threshold_is_a_multiple_of_the_mean_of_each_layer_and_the_share_bounds_it() -> None:
    def widths(threshold: float, share: float) -> tuple[int, int]:
        model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 2))
        with torch.no_grad():
            for layer, scale in ((model[0], 1.0), (model[2], 100.0)):
                layer.weight.fill_(scale)
                layer.bias.zero_()
                layer.weight[:4] *= 0.01
            model[2].weight[:, :4] *= 0.01
            model[4].weight.fill_(1.0)
        config = ChannelsConfig(allocation="network", threshold=threshold)
        remove_channels(config, model, Calibration(arguments=(torch.randn(2, 4),)), share)
        return model[0].out_features, model[2].out_features

    assert widths(0.5, 0.9) == (6, 6), "each layer loses its own weak channels, however large its weights are"
    assert sum(widths(0.5, 0.1)) == 18
    assert widths(1e-6, 0.9) == (10, 10)


def test_a_threshold_goes_by_the_mean_of_channels_that_are_flattened() -> None:
    model = Coupled().eval()
    (stream,) = [group for group in groups(model, (IMAGES[:2],)) if group.width == 6]
    stream.scale(model, torch.tensor([1.0, 0.2, 1.0, 1.0, 0.2, 1.0]))
    smaller = remove_channels(ChannelsConfig(allocation="network", threshold=0.4), model, calibration(), 0.9)
    assert isinstance(smaller, Coupled) and smaller.a.out_channels == 4


def layered() -> nn.Sequential:
    """Return three layers, of which the first two have four weak channels of ten each; a linear layer before a batch norm."""
    model = nn.Sequential(
        nn.Linear(4, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 2)
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        for layer in (model[0], model[1], model[3]):
            layer.weight[:4] = 0.3
            layer.bias[:4] = 0.3
        model[3].weight[:, :4] = 0.3
        model[5].weight[:, :4] = 0.3
    return model


@pytest.mark.parametrize(
    ("own", "default", "widths"),
    [
        ({"0": 0.1}, 0.8, (10, 6)), ({"3": 0.1}, 0.8, (6, 10)), ({"1": 0.1}, 0.8, (10, 6)),
        ({"0": 0.8, "3": 0.1}, None, (6, 10)), ({"0": 0.8, "3": 0.8}, 0.01, (6, 6)), ({}, 0.8, (6, 6)),
    ],
)  # fmt: skip
def test_layers_have_thresholds_of_their_own_which_hold_for_all_layers_coupled_to_them(
    own: dict[str, float], default: float | None, widths: tuple[int, int]
) -> None:
    calibration = Calibration(arguments=(torch.randn(2, 4),))
    for build_one, config in ((build, Config), (build_channels, ChannelsConfig)):
        method = build_one(config.model_validate({"allocation": "network", "threshold": default, "thresholds": own}), 0.9)
        assert method.presized(layered(), calibration.arguments) is None, "training decides what goes"
        model = method.remove(method.start(layered(), calibration), calibration)
        assert (model[0].out_features, model[3].out_features) == widths  # type: ignore[index]


def test_a_threshold_of_no_layer_and_two_of_coupled_layers_are_rejected_before_the_training() -> None:
    calibration = Calibration(arguments=(torch.randn(2, 4),))
    for thresholds, reason in (
        ({"5": 0.5}, "'5' is not a layer that can become smaller.* Such layers: 0, 1, 3"),
        ({"0": 0.5, "1": 0.6}, "different thresholds: 0: 0.5, 1: 0.6"),
    ):
        with pytest.raises(InputError, match=reason):
            build(Config(thresholds=thresholds), 0.5).start(layered(), calibration)


def test_thresholds_of_layers_are_given_and_searched_in_a_spec() -> None:
    options = {"threshold": {"float": [0.1, 0.5]}, "thresholds": {"layers.0": {"float": [0.2, 0.9]}, "layers.2": 0.4}}
    spec = loading.from_dict({**SMALL_SPEC, "sparsity": {"amount": 0.9, "method": {"spr": options}}})
    config, params = spec.space.resolve(lambda _, one: one.labels[0] if isinstance(one, Choice) else one.low)
    assert params["sparsity.method.spr.thresholds.layers.0"] == 0.2 and params["sparsity.method.spr.threshold"] == 0.1
    method = spec.trial_config(config).sparsity.method
    assert method["spr"]["thresholds"] == {"layers.0": 0.2, "layers.2": 0.4}  # type: ignore[index]
    assert spec.default_of("sparsity.method.spr.thresholds.layers.0") is None
    with pytest.raises(InputError, match="layers"):
        loading.from_dict({**SMALL_SPEC, "sparsity": {"amount": 0.9, "method": {"spr": {"thresholds": {"layers.0": -1.0}}}}})


def test_batch_norms_take_the_averages_over_the_batches() -> None:
    model = Coupled().train()
    model.depthwise.eval()
    rows = [(IMAGES[:3],), (IMAGES[3:],)]
    recalibrate(model, rows)
    features = [model.a(batch).detach() for (batch,) in rows]
    means = torch.stack([one.mean(dim=(0, 2, 3)) for one in features]).mean(dim=0)
    variances = torch.stack([one.var(dim=(0, 2, 3)) for one in features]).mean(dim=0)
    torch.testing.assert_close(model.norm.running_mean, means)
    torch.testing.assert_close(model.norm.running_var, variances)
    assert model.norm.momentum == 0.1 and model.training and model.norm.training and not model.depthwise.training
    before = copy.deepcopy(model.state_dict())
    recalibrate(model, [])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("schedule", ["one_cycle", "step"])
def test_a_channel_that_no_gradient_holds_loses_its_share_of_the_norm_until_the_removal(
    schedule: str, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config()
    config["student"] |= {"model": {"mlp": {"hidden": 16}}, "epochs": 4, "schedule": schedule, "optimizer": "sgd"}
    config["student"] |= {"weight_decay": 0.0, "learning_rate": 0.05}
    config["sparsity"] = {"amount": 0.5, "method": {"spr": {"group": 0.6, "fine_tune_share": 0.25}}}
    trial = TrialConfig.model_validate(config)
    monkeypatch.setattr(StepLoss, "__call__", lambda self, rows, epoch: 0.0 * sum(p.sum() for p in self._model.parameters()))
    training = loop.Training(student.build(trial, context, 0), student.plan(trial, context, 0))
    (hidden,) = groups(training.model, context.splits["train"].take(slice(2)).arguments)
    before = hidden.norms(training.model)
    for _ in range(3):
        training.epoch()
    torch.testing.assert_close(hidden.norms(training.model), before - 0.6 * before.mean(), atol=1e-5, rtol=1e-4)


def test_the_penalties_end_with_the_removal() -> None:
    model, method = Coupled(), build(Config(group=1.0, l1=1.0), 0.5)
    method.start(model, calibration())
    smaller = method.remove(model, calibration())
    before = copy.deepcopy(smaller.state_dict())
    method.after_step(smaller, 0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in smaller.state_dict().items())
    assert smaller(IMAGES).shape == (6, 3)
