"""A plain convolutional network: 3×3 convolutions with batch normalisation, the width doubled as the image is halved."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import nn

from tutelage.errors import InputError
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [2, 64], "log": True},
    "depth": {"int": [1, 3]},
}


class Config(PluginConfig):
    """Size of the network; its stages have `width`, 2·`width`, 4·`width`, … channels."""

    width: int = Field(16, ge=1, le=4096, description="channels of the first stage")
    depth: int = Field(2, ge=1, le=8, description="number of stages, each half as high and wide as the one before")


def _stage(fan_in: int, fan_out: int, *, halve: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(fan_in, fan_out, kernel_size=3, padding=1, bias=False)
    pool: list[nn.Module] = [nn.MaxPool2d(2)] if halve else []
    return [convolution, nn.BatchNorm2d(fan_out), nn.ReLU(inplace=True), *pool]


def build(config: Config, example_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`.

    Raises `InputError` for examples that are not images or too small to be halved `depth - 1` times.
    """
    if len(example_shape) != 3:
        raise InputError(f"model 'convnet' takes images [channels, height, width]; the data has {example_shape}.")
    if min(example_shape[1:]) < 2 ** (config.depth - 1):
        raise InputError(f"model 'convnet': depth {config.depth} halves an image of {example_shape[1:]} to nothing.")
    widths = [example_shape[0], *(config.width * 2**stage for stage in range(config.depth))]
    stages: list[nn.Module] = []
    for position, (fan_in, fan_out) in enumerate(pairwise(widths)):
        stages += _stage(fan_in, fan_out, halve=position < config.depth - 1)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes)]
    return nn.Sequential(*stages, *head)
