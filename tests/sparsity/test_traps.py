"""The eleven traps of torch-pruning 1.6, each with what the package gives instead.

The number of a test is that of the trap. `tests/mutants/sparsity.yaml` breaks the line that avoids each.
"""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import pytest
import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional

from tests.contexts import small_config
from tests.odd_networks import Tied
from tests.plain import architecture_of, plain_signature
from tutelage.errors import InputError
from tutelage.models import frame_gru, separate_channels
from tutelage.networks import checkpoint, cost
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.sparsity import Calibration, Method, channels, heads, units
from tutelage.spec.sections import TrialConfig
from tutelage.training import loop, student
from tutelage.training.context import TrainingContext

IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = Calibration(arguments=(IMAGES[:2],))


def network(*widths: int) -> nn.Sequential:
    """Return convolutions of these widths and a linear layer of three outputs."""
    torch.manual_seed(0)
    pairs = zip((1, *widths), widths, strict=False)
    layers = [layer for before, width in pairs for layer in (nn.Conv2d(before, width, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 3))


def widths_of(model: nn.Module) -> list[int]:
    return [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)]


def smaller(model: nn.Module, share: float = 0.5, **options: Any) -> nn.Module:
    return channels.remove_channels(channels.Config(**options), model, DATA, share)


def vit() -> Any:
    return checkpoint.seeded(architecture_of({"vit": {"width": 16, "depth": 1, "heads": 4}}, (1, 8, 8), "abc"), 0)


@pytest.mark.slow
@pytest.mark.parametrize("allocation", ["uniform", "network"])
def test_1_no_network_outlives_its_removal_in_the_default_arguments_of_the_library(allocation: Any) -> None:
    layers = []
    for _ in range(3):
        model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten(), nn.Linear(256, 3))
        layers.append(weakref.ref(smaller(model, allocation=allocation)[1]))  # type: ignore[index]
        del model
    gc.collect()
    assert [layer() for layer in layers] == [None] * 3
    defaults = inspect.signature(torch_pruning.pruner.BasePruner.__init__).parameters
    assert all(defaults[name].default == {} for name in ("in_channel_groups", "out_channel_groups", "num_heads"))


def test_2_a_layer_whose_weights_are_all_small_is_neither_left_whole_nor_emptied() -> None:
    model = network(16, 32)
    with torch.no_grad():  # nearly all of the first layer is far below the second
        for tensor in (model[0].weight, model[0].bias, model[2].weight.movedim(1, 0)):
            tensor[1:] *= 1e-4
    first, second = widths_of(smaller(model, allocation="network"))
    assert (first, first + second) == (4, 24), "a layer loses at most a quarter more than the share"


def test_3_a_share_is_not_rounded_to_nothing() -> None:
    assert widths_of(smaller(network(16, 16), 0.7)) == [4, 4]
    assert sum(widths_of(smaller(network(16, 16), 0.7, allocation="network"))) == 32 - 22


def test_4_a_uniform_share_is_of_every_layer() -> None:
    assert widths_of(smaller(network(8, 16, 32))) == [4, 8, 16]


def test_5_the_outputs_and_layers_that_are_marked_keep_their_width() -> None:
    model = network(8, 8)
    model[2].keeps_width = True  # type: ignore[assignment]
    assert widths_of(smaller(model)) == [4, 8] and model[-1].out_features == 3


def test_6_channels_leave_heads_whole_and_removed_heads_are_counted() -> None:
    model = vit()
    attention = model.stage1[0].attention
    smaller(model)
    assert attention.queries_keys_values.weight.shape == (48, 16) and model(IMAGES).shape == (4, 3)
    heads.build(heads.Config(), 0.5).remove(model, DATA)
    assert attention.heads == 2 and attention.queries_keys_values.weight.shape == (24, 16) and model(IMAGES).shape == (4, 3)
    assert attention.projection.weight.shape == (16, 8)


class TiedChannels(nn.Module):
    """Two convolutions with one weight, each between others, so that their channels go separately."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.middle, self.b, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 3)
        self.b.weight = self.a.weight

    def forward(self, images: Tensor) -> Tensor:
        features = self.b(self.middle(self.a(self.first(images)).relu()).relu())
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("network", [Tied, TiedChannels])
def test_7_a_shared_weight_does_not_become_two(network: type[nn.Module]) -> None:
    model = network()
    with pytest.raises(InputError, match=r"are one shared tensor, and would become two\. Mark the layers"):
        smaller(model)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], bidirectional: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(8, 14), nn.ReLU(), nn.Linear(14, 12))
        self.layer: Any = kind(12, 6, batch_first=True, bidirectional=bidirectional)
        self.hidden, self.head = nn.Linear(12 if bidirectional else 6, 10), nn.Linear(10, 3)

    def forward(self, images: Tensor) -> Any:
        return self.head(self.hidden(self.layer(self.body(images[:, 0]))[0].mean(dim=1)).relu())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_8_recurrent_layers_lose_units_and_one_that_cannot_be_traced_is_named_with_the_way_to_leave_it_out(
    kind: Any, bidirectional: bool
) -> None:
    model = Recurrent(kind, bidirectional)
    if kind is nn.LSTM:
        smaller(model)
        assert model.hidden.out_features == 5
    else:
        with pytest.raises(InputError, match=r"'layer' \(GRU\) cannot be traced .* units, .*separate_channels"):
            smaller(model)
        separate_channels(model.body)
        smaller(model)
        assert model.body[0].out_features == 7 and model.body[2].out_features == 12  # type: ignore[index]
    assert model.layer.hidden_size == 6 and model(IMAGES).shape == (4, 3)
    units.build(units.Config(), 0.5).remove(model, DATA)
    assert model.layer.hidden_size == 3 and model(IMAGES).shape == (4, 3)


def test_9_the_optimiser_and_the_average_hold_the_parameters_after_the_removal(context: TrainingContext) -> None:
    config = TrialConfig.model_validate(small_config())
    config = config.model_copy(update={"student": config.student.model_copy(update={"epochs": 2, "average_decay": 0.9})})
    training = loop.Training(student.build(config, context, 0), student.plan(config, context, 0))
    before = list(training.model.parameters())  # held, so that no new one has the identity of an old one
    while not training.is_done:
        training.epoch()
    own = {id(parameter) for parameter in training.model.parameters()}
    held = {id(parameter) for group in training._optimizer.param_groups for parameter in group["params"]}
    removed = [one for one in before if id(one) not in own]
    assert own == held and len(removed) > 2
    assert training._average is not None
    shapes = {name: parameter.shape for name, parameter in training.model.named_parameters()}
    assert {name: training._average.weights[name].shape for name in shapes} == shapes


def test_10_macs_include_the_products_of_queries_keys_and_values() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.layer(images[:, 0])
            return functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(dim=1)

    assert cost.macs(Attention(), plain_signature((1, 8, 8)))["macs"] == 3 * 8**3


@pytest.mark.parametrize("allocation", ["uniform", "network"])
def test_11_a_layer_loses_at_most_a_quarter_more_than_the_share_and_never_its_last_channel(allocation: Any) -> None:
    model = network(16, 16)
    with torch.no_grad():
        model[0].weight[:15] *= 1e-6  # all but one channel of the first layer are far weaker than those of the second
        model[0].bias[:15] *= 1e-6
        model[2].weight[:, :15] *= 1e-6
    first, second = widths_of(smaller(model, 0.4, allocation=allocation))
    assert (first >= 16 * 0.35 and first + second == 32 - 12) if allocation == "network" else (first, second) == (9, 9)
    assert widths_of(smaller(network(1, 2, 8), 0.95, allocation=allocation))[0] == 1
    assert min(widths_of(smaller(network(1, 2, 8), 0.95, allocation=allocation))) == 1
    method: Method = channels.build(channels.Config(allocation=allocation), 0.95)
    assert min(widths_of(method.remove(method.remove(network(4, 4), DATA), DATA))) == 1


def test_a_network_that_cannot_be_traced_is_one_error_without_warnings(recwarn: pytest.WarningsRecorder) -> None:
    frames, names = InputSpec(name="frames", shape=("steps", 1, 16, 16), kind="frames"), ("a", "b")
    model = frame_gru.build(
        frame_gru.Config(width=4), Signature(inputs=(frames,), outputs=(OutputSpec(name="class", names=names),))
    )
    arguments = (torch.zeros(2, 5, 1, 16, 16), torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(InputError, match=r"\(GRU\).* cannot be traced"):
        channels.remove_channels(channels.Config(), model, Calibration(arguments=arguments), 0.5)
    assert not [one for one in recwarn if "recursive depth" in str(one.message)]
