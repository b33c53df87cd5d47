"""ShuffleNetV2 for small images: units that transform half of the channels and shuffle them (Ma et al., 2018)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.models import image_shape, keep_width, normed_conv, pooled_head, separate_channels, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

STEM, FULL, BLOCKS = 24, 116, (3, 7, 3)

SPACE: dict[str, dict[str, object]] = {
    "width": {"float": [0.1, 1.0], "log": True},
    "last": {"int": [64, 1024], "log": True},
}


class Config(PluginConfig):
    """Size of the network; its stages have 116, 232 and 464 times `width` channels. ShuffleV2 of the tables is width 1."""

    width: float = Field(0.25, gt=0.01, le=4, description="factor of the stages' channels")
    last: int = Field(1024, ge=1, le=8192, description="channels of the last convolution")
    kernel_px: Literal[3, 5, 7] = Field(3, description="side of the depthwise kernels, in pixels")


class Unit(nn.Module):
    """1×1, depthwise and 1×1 convolutions of half of the channels; with a stride, two branches that take all channels."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, kernel: int) -> None:
        super().__init__()
        half = fan_out // 2
        self.halves = stride == 1
        entering = half if self.halves else fan_in
        branch = nn.Sequential(
            normed_conv(entering, half, 1),
            normed_conv(half, half, kernel, stride=stride, groups=half, relu=False),
            _with_fixed_width(normed_conv(half, half, 1)),
        )
        self.branch = separate_channels(branch)
        self.shortcut = nn.Identity() if self.halves else _strided_shortcut(fan_in, half, stride, kernel)

    def forward(self, maps: Tensor) -> Tensor:
        """Return `[batch, fan_out, height / stride, width / stride]`."""
        passed, transformed = maps.chunk(2, dim=1) if self.halves else (maps, maps)
        joined = torch.cat([self.shortcut(passed), self.branch(transformed)], dim=1)
        return nn.functional.channel_shuffle(joined, 2)


def _with_fixed_width(layer: nn.Sequential) -> nn.Sequential:
    keep_width(layer[0])
    return layer


def _strided_shortcut(fan_in: int, half: int, stride: int, kernel: int) -> nn.Sequential:
    depthwise = normed_conv(fan_in, fan_in, kernel, stride=stride, groups=fan_in, relu=False)
    return nn.Sequential(depthwise, _with_fixed_width(normed_conv(fan_in, half, 1)))


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`."""
    channels, *_ = image_shape("shufflenet", signature)
    widths = [STEM, *(2 * max(1, round(FULL * config.width / 2)) * factor for factor in (1, 2, 4))]
    children: dict[str, nn.Module] = {"stem": _with_fixed_width(normed_conv(channels, STEM, 1))}
    for number, ((fan_in, fan_out), blocks) in enumerate(zip(pairwise(widths), BLOCKS, strict=True), start=1):
        rest = [Unit(fan_out, fan_out, 1, config.kernel_px) for _ in range(blocks)]
        children[f"stage{number}"] = nn.Sequential(Unit(fan_in, fan_out, 2, config.kernel_px), *rest)
    tail = nn.Sequential(normed_conv(widths[-1], config.last, 1), pooled_head(config.last, signature))
    return staged({**children, "head": separate_channels(tail)})
