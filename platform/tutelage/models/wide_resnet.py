"""A wide residual network: three stages of pre-activation blocks, 6n + 4 layers (Zagoruyko and Komodakis, 2016)."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.models import image_shape, pooled_head, staged
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

STEM = 16

SPACE: dict[str, dict[str, object]] = {
    "blocks": {"int": [1, 6]},
    "widen": {"int": [1, 4]},
}


class Config(PluginConfig):
    """Size of the network; its stages have 16, 32 and 64 times `widen` channels. wrn-40-2 is blocks 6, widen 2."""

    blocks: int = Field(1, ge=1, le=50, description="residual blocks a stage, n of 6n + 4 layers")
    widen: int = Field(1, ge=1, le=64, description="factor of the width")


class PreActivationBlock(nn.Module):
    """Two 3×3 convolutions, each after normalisation and ReLU; the shortcut is a 1×1 convolution if the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(fan_in), nn.BatchNorm2d(fan_out)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False) if fan_in != fan_out else None

    def forward(self, maps: Tensor) -> Tensor:
        """Return `[batch, fan_out, height / stride, width / stride]`."""
        active = functional.relu(self.norm1(maps))
        residual: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        return residual + (maps if self.shortcut is None else self.shortcut(active))


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`."""
    channels, *_ = image_shape("wide_resnet", signature)
    widths = [STEM, *(STEM * config.widen * factor for factor in (1, 2, 4))]
    children: dict[str, nn.Module] = {"stem": nn.Conv2d(channels, STEM, 3, 1, 1, bias=False)}
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        first = PreActivationBlock(fan_in, fan_out, 1 if number == 1 else 2)
        rest = [PreActivationBlock(fan_out, fan_out, 1) for _ in range(config.blocks - 1)]
        children[f"stage{number}"] = nn.Sequential(first, *rest)
    last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))
    return staged({**children, "norm": last, "head": pooled_head(widths[-1], signature)})
