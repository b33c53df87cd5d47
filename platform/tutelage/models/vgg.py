"""Stacked 3×3 convolutions in five stages (Simonyan and Zisserman, 2015), with batch normalisation, for small images."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import nn

from tutelage.models import image_shape, normed_conv, pooled_head, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

FACTORS = (1, 2, 4, 8, 8)
POOLED = 3

SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [4, 64], "log": True},
    "convs": {"int": [1, 2]},
}


class Config(PluginConfig):
    """Size of the network; its stages have 1, 2, 4, 8 and 8 times `width` channels. vgg8 is convs 1, vgg13 convs 2."""

    width: int = Field(16, ge=1, le=512, description="channels of the first stage; 64 in the paper")
    convs: int = Field(1, ge=1, le=4, description="convolutions a stage")


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`.

    The image is halved after each of the first three stages; sides are rounded up, so that they never become 0.
    """
    channels, *_ = image_shape("vgg", signature)
    widths = [channels, *(config.width * factor for factor in FACTORS)]
    children: dict[str, nn.Module] = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        rest = [normed_conv(fan_out, fan_out, 3, bias=True) for _ in range(config.convs - 1)]
        children[f"stage{number}"] = nn.Sequential(normed_conv(fan_in, fan_out, 3, bias=True), *rest)
        if number <= POOLED:
            children[f"pool{number}"] = nn.MaxPool2d(2, ceil_mode=True)
    return staged({**children, "head": pooled_head(widths[-1], signature)})
