"""A multilayer perceptron: flattened inputs, hidden layers of equal width, ReLU."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import Field
from torch import nn

from tutelage.errors import InputError
from tutelage.models import check_one_step, heads, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "hidden": {"int": [4, 256], "log": True},
    "depth": {"int": [1, 3]},
}


class Config(PluginConfig):
    """Size of the perceptron."""

    hidden: int = Field(64, ge=1, le=65536, description="units of every hidden layer")
    depth: int = Field(1, ge=1, le=64, description="number of hidden layers")


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from one dense input of any shape to logits `[batch, classes]`. Raises `InputError` for other inputs."""
    check_one_step("mlp", signature)
    (spec, *others) = signature.inputs
    if others or spec.is_ragged or spec.dtype != "float32":
        raise InputError(f"model 'mlp' takes one input of numbers of a fixed shape; the data has {spec.kind} {spec.shape}.")
    widths = [prod(signature.example_shape), *[config.hidden] * config.depth]
    children: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        children[f"stage{number}"] = nn.Sequential(nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True))
    return staged({**children, "head": heads(widths[-1], signature)})
