"""A residual network for small images: three stages of basic blocks, 6n + 2 layers (He et al., 2016)."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from tutelage.models import image_shape, normed_conv, pooled_head, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "blocks": {"int": [1, 5]},
    "width": {"int": [4, 64], "log": True},
}


class Config(PluginConfig):
    """Size of the network; its stages have `width`, 2·`width` and 4·`width` channels.

    Published networks: resnet20 has 3 blocks and resnet56 has 9, both with width 16; resnet8x4 has 1 block and resnet32x4 has
    5, both with width 64 and stem 32.
    """

    blocks: int = Field(1, ge=1, le=50, description="residual blocks a stage, n of 6n + 2 layers")
    width: int = Field(16, ge=1, le=1024, description="channels of the first stage")
    stem: int | None = Field(None, ge=1, le=1024, description="channels of the first convolution; null: as the first stage")
    stem_stride: int = Field(1, ge=1, le=2, description="stride of the first convolution; 2 needs a quarter of the MACs")


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around which the input is carried, by a 1×1 convolution where the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.first = normed_conv(fan_in, fan_out, 3, stride=stride)
        self.second = normed_conv(fan_out, fan_out, 3, relu=False)
        changes = stride != 1 or fan_in != fan_out
        self.shortcut = normed_conv(fan_in, fan_out, 1, stride=stride, relu=False) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Return `[batch, fan_out, height / stride, width / stride]`."""
        summed: Tensor = self.second(self.first(maps)) + self.shortcut(maps)
        return summed.relu()


def _stage(fan_in: int, fan_out: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(fan_out, fan_out, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(fan_in, fan_out, stride), *rest)


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`."""
    channels, *_ = image_shape("resnet", signature)
    widths = [config.stem or config.width, *(config.width * factor for factor in (1, 2, 4))]
    children: dict[str, nn.Module] = {"stem": normed_conv(channels, widths[0], 3, stride=config.stem_stride)}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        children[f"stage{number}"] = _stage(fan_in, fan_out, config.blocks, stride=1 if number == 1 else 2)
    return staged({**children, "head": pooled_head(widths[-1], signature)})
