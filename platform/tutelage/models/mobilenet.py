"""MobileNetV2 for small images: inverted residual blocks with depthwise convolutions (Sandler et al., 2018)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from tutelage.models import image_shape, normed_conv, pooled_head, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

# (expansion is 1, channels at width 1, blocks, stride of the first), by stage: the table of Sandler et al. for 32×32 images
STAGES: tuple[tuple[tuple[bool, int, int, int], ...], ...] = (
    ((True, 16, 1, 1), (False, 24, 2, 1)),
    ((False, 32, 3, 2),),
    ((False, 64, 4, 2), (False, 96, 3, 1)),
    ((False, 160, 3, 2), (False, 320, 1, 1)),
)

STEM, LAST = 32, 1280

SPACE: dict[str, dict[str, object]] = {
    "width": {"float": [0.125, 1.0], "log": True},
    "expansion": {"int": [2, 6]},
}


class Config(PluginConfig):
    """Size of the network. The distillation tables' MobileNetV2 is width 0.5, expansion 6."""

    width: float = Field(0.25, ge=0.0625, le=4, description="factor of every layer's channels")
    expansion: int = Field(6, ge=1, le=16, description="width inside a block, in widths of its input")
    kernel_px: Literal[3, 5, 7] = Field(3, description="side of the depthwise kernels, in pixels")
    last: int = Field(LAST, ge=1, le=8192, description="channels of the last convolution")


class InvertedResidual(nn.Module):
    """A 1×1 expansion, a depthwise and a 1×1 convolution; with a residual connection if the shape does not change."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        inside = fan_in * expansion
        self.layers = nn.Sequential(
            normed_conv(fan_in, inside, 1),
            normed_conv(inside, inside, kernel, stride=stride, groups=inside),
            normed_conv(inside, fan_out, 1, relu=False),
        )
        self.has_shortcut = stride == 1 and fan_in == fan_out

    def forward(self, maps: Tensor) -> Tensor:
        """Return `[batch, fan_out, height / stride, width / stride]`."""
        changed: Tensor = self.layers(maps)
        return maps + changed if self.has_shortcut else changed


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`."""
    channels, *_ = image_shape("mobilenet", signature)
    fan_in = _scaled(STEM, config.width)
    children: dict[str, nn.Module] = {"stem": normed_conv(channels, fan_in, 3, stride=2)}
    for number, rows in enumerate(STAGES, start=1):
        blocks: list[nn.Module] = []
        for is_plain, full, count, stride in rows:
            fan_out, expansion = _scaled(full, config.width), 1 if is_plain else config.expansion
            for position in range(count):
                block_stride = stride if position == 0 else 1
                blocks.append(InvertedResidual(fan_in, fan_out, block_stride, expansion, config.kernel_px))
                fan_in = fan_out
        children[f"stage{number}"] = nn.Sequential(*blocks)
    return staged({**children, "last": normed_conv(fan_in, config.last, 1), "head": pooled_head(config.last, signature)})


def _scaled(channels: int, width: float) -> int:
    return max(1, int(channels * width))
