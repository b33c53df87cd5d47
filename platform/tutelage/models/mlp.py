"""A multilayer perceptron: flattened inputs, hidden layers of one width, ReLU."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import Field
from torch import nn

from tutelage.models import staged
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {
    "hidden": {"int": [4, 256], "log": True},
    "depth": {"int": [1, 3]},
}


class Config(PluginConfig):
    """Size of the perceptron."""

    hidden: int = Field(64, ge=1, le=65536, description="units of every hidden layer")
    depth: int = Field(1, ge=1, le=64, description="number of hidden layers")


def build(config: Config, example_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return a network from `[batch, *example_shape]` to logits `[batch, num_classes]`."""
    widths = [prod(example_shape), *[config.hidden] * config.depth]
    children: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        children[f"stage{number}"] = nn.Sequential(nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True))
    return staged({**children, "head": nn.Linear(widths[-1], num_classes)})
