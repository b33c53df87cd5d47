"""Networks whose `forward` collects its arguments (`*inputs`) are exported for any batch size and length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.plain import SENTENCES, examples_for, plain_signature
from tutelage import plugins
from tutelage.networks import checkpoint, runtime
from tutelage.networks.ensemble import Ensemble
from tutelage.signature import Signature
from tutelage.tasks import by_sequence

CHOSEN = plain_signature(names="012")


def built(name: str, signature: Signature) -> nn.Module:
    _, plugin, config = plugins.configure("models", name)
    network: nn.Module = plugin.build(config, signature)
    return network


def wrapped(name: str) -> tuple[nn.Module, Signature]:
    torch.manual_seed(0)
    if name == "several teachers":
        return Ensemble([built("text_cnn", SENTENCES), built("bigru", SENTENCES)], [2, 1]), SENTENCES
    return checkpoint.ChosenClasses(built("mlp", plain_signature()), [3, 1, 7]), CHOSEN


@pytest.mark.slow
@pytest.mark.parametrize("name", ["several teachers", "chosen classes"])
def test_a_wrapped_network_computes_the_same_in_onnx_runtime(name: str) -> None:
    model, signature = wrapped(name)
    arguments: tuple[Tensor, ...] = examples_for(signature, 7)
    session = runtime.opened(runtime.onnx_bytes(model.eval(), signature))
    names = [output.name for output in signature.outputs]
    with torch.inference_mode():
        expected, found = by_sequence(model(*arguments), names), by_sequence(session(*arguments), names)
    for one in names:
        torch.testing.assert_close(found[one], expected[one], atol=1e-5, rtol=1e-5)
