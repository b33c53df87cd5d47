"""What every sparsity method keeps on every network: the function of the masked network, and its exported and saved forms.

Both families are discovered. A new method that only sets weights to zero (`Masked`) needs nothing here. Another one has a
function `masked(method, model)` in its own tests, and there `EXPORTED`, the networks whose exports are tested (by default one).
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests import own_tests, sparse_models
from tests.plain import architecture_of, models_for, plain_signature
from tests.sparse_models import ENCODER, RECURRENT, fitting
from tutelage import plugins
from tutelage.networks import checkpoint, runtime
from tutelage.networks.onnx_format import Session
from tutelage.networks.program import program_bytes, program_of
from tutelage.networks.trust import EVERYTHING
from tutelage.sparsity import Calibration, channels
from tutelage.sparsity._attention import attention, candidates
from tutelage.sparsity._masks import Masked
from tutelage.sparsity._recurrent import recurrent
from tutelage.sparsity._tracing import groups
from tutelage.sparsity.low_rank import LowRank, product

SHAPE = (1, 8, 8)
IMAGES = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
DATA = Calibration(arguments=(IMAGES[:2],), steps=4, batches=lambda count: [(IMAGES,)])
TINY: dict[str, dict[str, Any]] = {
    "convnet": {"width": 8}, "mlp": {"hidden": 16, "depth": 2}, "mobilenet": {"width": 0.125, "last": 16},
    "resnet": {"width": 8}, "shufflenet": {"last": 16}, "vgg": {"width": 4}, "vit": {"width": 16, "depth": 3, "heads": 4},
    "wide_resnet": {},
}  # fmt: skip
METHODS = plugins.names("sparsity")
PAIRS = [(method, model) for method in METHODS for model in fitting(method)]
CLOSE = 1e-5
Pair = tuple[nn.Module, nn.Module]  # a masked network, and the smaller one made of it


def architecture(model: str) -> dict[str, Any]:
    return architecture_of({model: TINY[model]} if model in TINY else model, SHAPE, list("abcdefghij"))


def network(model: str) -> nn.Module:
    """Return a network with batch norms as after a training."""
    made = checkpoint.seeded(architecture(model), 0)
    generator = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return made.eval()


def removed(method: str, model: nn.Module, share: float = 0.5) -> Any:
    """Return the candidate of a training of one epoch, and the method."""
    _, plugin, options = plugins.configure("sparsity", {method: sparse_models.options(method)})
    one = plugin.build(options, share)
    point, *_ = one.finish(one.start(model, DATA), DATA)
    return point, one


def close(left: nn.Module, right: nn.Module) -> None:
    with torch.no_grad():
        expected, found = left.eval()(IMAGES), right.eval()(IMAGES)
    torch.testing.assert_close(found, expected, atol=CLOSE * max(1.0, float(expected.abs().max())), rtol=0)


def without_channels(method: str, model: nn.Module) -> Pair:
    """Every second channel has only zeros, the batch norm's shift included; then these go, as the weakest."""
    for group in groups(model, DATA.arguments):
        group.scale(model, torch.arange(group.width).remainder(2).float())
    masked = copy.deepcopy(model)
    channels.remove_channels(channels.Config(allocation="network", threshold=1e-6), model, DATA, 0.5)
    fewer = sum(parameter.numel() for parameter in model.parameters())
    assert fewer < 0.9 * sum(parameter.numel() for parameter in masked.parameters())
    return masked, model


def without_units(method: str, model: nn.Module) -> Pair:
    for name in [name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]:
        one = recurrent(model, DATA.arguments, name)
        one.silence([torch.arange(0, one.layer.hidden_size, 2)] * len(one.cells))  # the others are then the weakest
    masked = copy.deepcopy(model)
    return masked, removed(method, model)[0].model


def without_heads(method: str, model: nn.Module) -> Pair:
    for name in list(candidates(model)):
        one = attention(model, DATA.arguments, name)
        with torch.no_grad():
            for layer in one.inputs:
                layer.weight.view(3, one.num_heads, -1)[:, ::2] = 0.0
                layer.bias.view(3, one.num_heads, -1)[:, ::2] = 0.0
            one.projection.weight.view(len(one.projection.weight), one.num_heads, -1)[:, ::2] = 0.0
    masked = copy.deepcopy(model)
    return masked, removed(method, model)[0].model


def with_products(method: str, model: nn.Module) -> Pair:
    masked = copy.deepcopy(model)
    point, one = removed(method, model)
    assert isinstance(one, LowRank)
    for name in point.surgery["ranks"]:
        layer, own = product(point.model.get_submodule(name)), masked.get_submodule(name)
        with torch.no_grad():
            own.weight.copy_(layer.weight)  # type: ignore[operator, union-attr]
    return masked, point.model


def with_zeros(method: str, model: nn.Module) -> Pair:
    whole = copy.deepcopy(model)
    point, one = removed(method, model)
    assert isinstance(one, Masked), f"tests/sparsity/test_{method}.py has no masked(method, model)"
    with torch.no_grad():
        for name, mask in one.masks.items():
            whole.get_parameter(name).mul_(mask)
    assert one.masks
    return whole, point.model


def in_stages(method: str, model: nn.Module) -> Pair:
    """Channels that are zero go and no weight becomes zero; each method alone is tested above."""
    for group in groups(model, DATA.arguments):
        group.scale(model, torch.arange(group.width).remainder(2).float())
    masked = copy.deepcopy(model)
    stages = [{"channels": {"allocation": "network", "threshold": 1e-6, "amount": 0.5}}, {"magnitude": {"amount": 1e-9}}]
    _, plugin, options = plugins.configure("sparsity", {"composed": {"stages": stages}})
    one = plugin.build(options, 0.5)
    return masked, one.finish(one.start(model, DATA), DATA)[0].model


MASKED: dict[str, Callable[[str, nn.Module], Pair]] = {
    "channels": without_channels, "spr": without_channels, "units": without_units, "heads": without_heads,
    "low_rank": with_products, "composed": in_stages,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), PAIRS)
def test_a_smaller_network_is_the_masked_one_before_it_is_trained_on(method: str, model: str) -> None:
    pair_of = MASKED.get(method) or own_tests.part("sparsity", method, "masked", with_zeros)
    masked, smaller = pair_of(method, network(model))
    with torch.no_grad():
        expected, found = masked.eval()(IMAGES), smaller.eval()(IMAGES)
    assert found.shape == expected.shape and (found - expected).abs().max() <= CLOSE * max(1.0, float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), PAIRS)
def test_a_smaller_network_is_read_back_as_it_was(method: str, model: str, tmp_path: Path) -> None:
    point, _ = removed(method, network(model))
    surgery = {"method": {method: sparse_models.options(method)}, "amount": point.amount, "surgery": point.surgery}
    described = architecture(model) | ({} if point.surgery is None else {"surgeries": [surgery]})
    checkpoint.write(tmp_path, point.model, described)
    close(point.model, checkpoint.read(tmp_path, EVERYTHING)[0])


NETWORKS_OF = {  # methods that change layers, and the networks with which their exports are tested
    "channels": models_for(plain_signature(SHAPE)), "low_rank": ["convnet", "mlp", "vit"],
    "units": [RECURRENT], "heads": ["vit", ENCODER],
}  # fmt: skip
EXPORTED = [
    (method, model)
    for method in METHODS
    for model in NETWORKS_OF.get(method) or own_tests.part("sparsity", method, "EXPORTED", ["convnet"])
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), EXPORTED)
def test_a_smaller_network_is_exported_as_it_is_in_memory(method: str, model: str, tmp_path: Path) -> None:
    smaller = removed(method, network(model))[0].model.eval()
    signature = plain_signature(SHAPE)
    read = torch.export.load(io.BytesIO(program_bytes(program_of(smaller, signature), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", smaller, signature)
    session = Session(tmp_path / "network.onnx")
    with torch.no_grad():
        expected = smaller(IMAGES)
        scale = max(1.0, float(expected.abs().max()))
        for found in (read(IMAGES), session.run(IMAGES)):
            torch.testing.assert_close(found, expected, atol=CLOSE * scale, rtol=0)
