"""A plain convolutional network: 3×3 convolutions with batch normalisation; each stage halves the image, doubles the width."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import nn

from tutelage.errors import InputError
from tutelage.models import image_shape, normed_conv, pooled_head, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [2, 64], "log": True},
    "depth": {"int": [1, 3]},
}


class Config(PluginConfig):
    """Size of the network; its stages have `width`, 2·`width`, 4·`width`, … channels."""

    width: int = Field(16, ge=1, le=4096, description="channels of the first stage")
    depth: int = Field(2, ge=1, le=8, description="number of stages, each half as high and wide as the one before")


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`.

    Raises `InputError` for examples that are not images, or are too small to be halved `depth - 1` times.
    """
    channels, *sides = image_shape("convnet", signature)
    if min(sides) < 2 ** (config.depth - 1):
        raise InputError(f"model 'convnet': depth {config.depth} halves an image of {tuple(sides)} px to less than one pixel.")
    widths = [channels, *(config.width * 2**stage for stage in range(config.depth))]
    children: dict[str, nn.Module] = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        children[f"stage{number}"] = normed_conv(fan_in, fan_out, 3)
        if number < config.depth:
            children[f"pool{number}"] = nn.MaxPool2d(2)
    return staged({**children, "head": pooled_head(widths[-1], signature)})
