"""What every sparsity method keeps on every network: the function of the masked network, and its exported and saved forms.

Both families are discovered, and every pair is tried: images, and sentences of several lengths. A pair works, or is an error
before a training. A new method that only sets weights to zero (`Masked`) needs nothing here. Another one has a function
`masked(method, model, data)` in its own tests, and there `EXPORTED`, the networks whose exports are tested (by default one).
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from tests import own_tests, sparse_models
from tests.plain import SENTENCES, examples_for, models_for, plain_signature, signature_for, students
from tests.sparse_models import ENCODER, RECURRENT, fitting
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.export import read_back
from tutelage.networks import checkpoint, runtime
from tutelage.networks.onnx_format import Session
from tutelage.networks.program import program_bytes, program_of
from tutelage.networks.trust import EVERYTHING
from tutelage.sparsity import Calibration, channels
from tutelage.sparsity._attention import attention, candidates
from tutelage.sparsity._masks import Masked
from tutelage.sparsity._readers import Unremovable
from tutelage.sparsity._recurrent import recurrent
from tutelage.sparsity._tracing import groups
from tutelage.sparsity.low_rank import LowRank, product

TINY: dict[str, dict[str, Any]] = {
    "convnet": {"width": 8}, "mlp": {"hidden": 16, "depth": 2}, "mobilenet": {"width": 0.125, "last": 16},
    "resnet": {"width": 8}, "shufflenet": {"last": 16}, "vgg": {"width": 4}, "vit": {"width": 16, "depth": 3, "heads": 4},
    "wide_resnet": {}, "transformer": {"embedding": 8, "width": 16, "heads": 4}, "text_cnn": {"embedding": 8, "width": 16},
    **{name: {"embedding": 8, "hidden": 8, "depth": 2} for name in ("bilstm", "bigru", "gru")},
    "causal_transformer": {"embedding": 8, "width": 16, "heads": 4, "depth": 2},
}  # fmt: skip
METHODS = plugins.names("sparsity")
CLOSE = 1e-5
Pair = tuple[nn.Module, nn.Module]  # a masked network, and the smaller one made of it


def arguments_of(model: str, count: int = 5) -> tuple[Tensor, ...]:
    """Return the arguments of a network for `count` examples: images, or sentences of 1 to 5 tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return examples_for(signature_for(model), count)


def data_of(model: str) -> Calibration:
    whole = arguments_of(model)
    return Calibration(arguments=tuple(one[:2] for one in whole), steps=4, batches=lambda count: [whole])


def architecture(model: str) -> dict[str, Any]:
    options = TINY.get(model) or own_tests.part("models", model, "OPTIONS")
    described = {model: options} if options else model
    return {"version": 2, "model": described, "signature": signature_for(model).document()}


def network(model: str) -> nn.Module:
    """Return a network with batch norms as after a training."""
    made = checkpoint.seeded(architecture(model), 0)
    generator = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return made.eval()


def new_method(method: str, share: float = 0.5) -> Any:
    _, plugin, options = plugins.configure("sparsity", {method: sparse_models.options(method)})
    return plugin.build(options, share)


def removed(method: str, model: nn.Module, data: Calibration) -> Any:
    """Return the candidate of a training of one epoch, and the method."""
    one = new_method(method)
    point, *_ = one.finish(one.start(model, data), data)
    return point, one


def refusal(method: str, model: str) -> str:
    """Return why a method cannot make a network smaller, as it is said before a training; "" if it can."""
    try:
        new_method(method).presized(network(model), data_of(model).arguments)
    except InputError as error:
        return str(error)
    return ""


PAIRS = [(method, model) for method in METHODS for model in dict.fromkeys([*students(), *fitting(method)])]
SENTENCE_MODELS = {  # those of the package, with the methods that have nothing to remove from them
    "transformer": {"units"}, "causal_transformer": {"units"}, "text_cnn": {"channels", "composed", "heads", "spr", "units"},
    **{name: {"channels", "composed", "heads", "low_rank", "spr"} for name in ("bilstm", "bigru", "gru")},
    "huggingface": {"channels", "composed", "heads", "spr", "units"},
}  # fmt: skip


def outputs(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return [one for one in tree_leaves(model.eval()(*arguments)) if isinstance(one, Tensor)]


def close(left: Sequence[Tensor], right: Sequence[Tensor]) -> None:
    assert len(left) == len(right) > 0
    for expected, found in zip(left, right, strict=True):
        torch.testing.assert_close(found, expected, atol=CLOSE * max(1.0, float(expected.abs().max())), rtol=0)


def without_channels(method: str, model: nn.Module, data: Calibration) -> Pair:
    """Every second channel has only zeros, the batch norm's shift included; then these go, as the weakest."""
    for group in groups(model, data.arguments):
        group.scale(model, torch.arange(group.width).remainder(2).float())
    masked = copy.deepcopy(model)
    channels.remove_channels(channels.Config(allocation="network", threshold=1e-6), model, data, 0.5)
    fewer = sum(parameter.numel() for parameter in model.parameters())
    assert fewer < 0.9 * sum(parameter.numel() for parameter in masked.parameters())
    return masked, model


def without_units(method: str, model: nn.Module, data: Calibration) -> Pair:
    for name in [name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]:
        try:
            one = recurrent(model, data.arguments, name)
        except Unremovable:  # such as the last layer of a sentence's, which a layer norm reads
            continue
        one.silence([torch.arange(0, one.layer.hidden_size, 2)] * len(one.cells))  # the others are then the weakest
    masked = copy.deepcopy(model)
    return masked, removed(method, model, data)[0].model


def without_heads(method: str, model: nn.Module, data: Calibration) -> Pair:
    for name in list(candidates(model)):
        one = attention(model, data.arguments, name)
        with torch.no_grad():
            for layer in one.inputs:
                layer.weight.view(3, one.num_heads, -1)[:, ::2] = 0.0
                layer.bias.view(3, one.num_heads, -1)[:, ::2] = 0.0
            one.projection.weight.view(len(one.projection.weight), one.num_heads, -1)[:, ::2] = 0.0
    masked = copy.deepcopy(model)
    return masked, removed(method, model, data)[0].model


def with_products(method: str, model: nn.Module, data: Calibration) -> Pair:
    masked = copy.deepcopy(model)
    point, one = removed(method, model, data)
    assert isinstance(one, LowRank)
    for name in point.surgery["ranks"]:
        layer, own = product(point.model.get_submodule(name)), masked.get_submodule(name)
        with torch.no_grad():
            own.weight.copy_(layer.weight)  # type: ignore[operator, union-attr]
    return masked, point.model


def with_zeros(method: str, model: nn.Module, data: Calibration) -> Pair:
    whole = copy.deepcopy(model)
    point, one = removed(method, model, data)
    assert isinstance(one, Masked), f"tests/sparsity/test_{method}.py has no masked(method, model, data)"
    with torch.no_grad():
        for name, mask in one.masks.items():
            whole.get_parameter(name).mul_(mask)
    assert one.masks
    return whole, point.model


def in_stages(method: str, model: nn.Module, data: Calibration) -> Pair:
    """Channels that are zero go and no weight becomes zero; each method alone is tested above."""
    for group in groups(model, data.arguments):
        group.scale(model, torch.arange(group.width).remainder(2).float())
    masked = copy.deepcopy(model)
    stages = [{"channels": {"allocation": "network", "threshold": 1e-6, "amount": 0.5}}, {"magnitude": {"amount": 1e-9}}]
    _, plugin, options = plugins.configure("sparsity", {"composed": {"stages": stages}})
    one = plugin.build(options, 0.5)
    return masked, one.finish(one.start(model, data), data)[0].model


MASKED: dict[str, Callable[[str, nn.Module, Calibration], Pair]] = {
    "channels": without_channels, "spr": without_channels, "units": without_units, "heads": without_heads,
    "low_rank": with_products, "composed": in_stages,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), PAIRS)
def test_a_smaller_network_is_the_masked_one_before_it_is_trained_on(method: str, model: str) -> None:
    """A method that has nothing to remove says so before a training, and a training that is started in spite of it does."""
    data = data_of(model)
    if why := refusal(method, model):
        assert method not in ("magnitude", "movement", "n_m") and model not in fitting(method)
        assert "Take another sparsity method" in why or "Take sparsity.method: units" in why
        with pytest.raises(InputError):
            removed(method, network(model), data)
        return
    pair_of = MASKED.get(method) or own_tests.part("sparsity", method, "masked", with_zeros)
    masked, smaller = pair_of(method, network(model), data)
    assert sum(int((one != 0).sum()) for one in smaller.parameters()) < sum(one.numel() for one in network(model).parameters())
    close(outputs(masked, arguments_of(model)), outputs(smaller, arguments_of(model)))


@pytest.mark.slow
def test_what_each_method_makes_of_each_model_that_reads_sentences() -> None:
    assert SENTENCE_MODELS.keys() == {*models_for(SENTENCES)}
    for model, methods in SENTENCE_MODELS.items():
        assert {method for method in METHODS if refusal(method, model)} == methods


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), PAIRS)
def test_a_smaller_network_is_read_back_as_it_was(method: str, model: str, tmp_path: Path) -> None:
    if refusal(method, model):
        return
    point, _ = removed(method, network(model), data_of(model))
    surgery = {"method": {method: sparse_models.options(method)}, "amount": point.amount, "surgery": point.surgery}
    described = architecture(model) | ({} if point.surgery is None else {"surgeries": [surgery]})
    checkpoint.write(tmp_path, point.model, described)
    read, whole = checkpoint.read(tmp_path, EVERYTHING)[0], arguments_of(model)
    close(outputs(point.model, whole), outputs(read, whole))


NETWORKS_OF = {  # methods that change layers, and the networks with which their exports are tested
    "channels": [*models_for(plain_signature()), "transformer", "causal_transformer"],
    "low_rank": ["convnet", "mlp", "vit", "text_cnn"],
    "units": [RECURRENT, "bigru"], "heads": ["vit", ENCODER, "transformer", "causal_transformer"],
}  # fmt: skip
EXPORTED = [
    (method, model)
    for method in METHODS
    for model in NETWORKS_OF.get(method) or own_tests.part("sparsity", method, "EXPORTED", ["convnet"])
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), EXPORTED)
def test_a_smaller_network_is_exported_as_it_is_in_memory(method: str, model: str, tmp_path: Path) -> None:
    """A network that reads sentences is so for other lengths, too, and its logits do not depend on padding."""
    smaller = removed(method, network(model), data_of(model))[0].model.eval()
    signature, whole = signature_for(model), arguments_of(model)
    read = torch.export.load(io.BytesIO(program_bytes(program_of(smaller, signature), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", smaller, signature)
    session = Session(tmp_path / "network.onnx")
    is_ragged = any(spec.is_ragged for spec in signature.inputs)
    if is_ragged:
        read_back.cases_of(smaller, signature, whole)  # raises for logits that depend on padding
    for given in (whole, tuple(one[:3, :3] for one in whole) if is_ragged else tuple(one[:1] for one in whole)):
        with torch.no_grad():
            found = (read(*given), session.run(*given))
            expected = smaller(*given)
        assert all(isinstance(one, dict) == isinstance(expected, dict) for one in found)
        for one in found:
            close(*(list(each.values()) if isinstance(each, dict) else [each] for each in _aligned(expected, one)))


def _aligned(expected: Any, found: Any) -> tuple[Any, Any]:
    """Return both outputs, those of several sequences in the same order."""
    return (expected, {name: found[name] for name in expected}) if isinstance(expected, dict) else (expected, found)
