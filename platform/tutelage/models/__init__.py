"""Networks: teachers and students. One file an architecture.

`build(config, example_shape, num_classes)` returns an untrained network; built under `torch.device("meta")` it costs no
memory and no time, which is how a student is sized before it is trained. The network's children named `stage1`, `stage2`,
… give its feature maps, in order of depth.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import nn

from tutelage.errors import InputError


def image_shape(name: str, example_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width); `InputError` for examples that are no images."""
    if len(example_shape) != 3:
        raise InputError(f"model '{name}' takes images [channels, height, width]; the data has {example_shape}.")
    channels, height, width = example_shape
    return channels, height, width


def normed_conv(
    fan_in: int, fan_out: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True, bias: bool = False
) -> nn.Sequential:
    """Return a convolution that keeps the image's size (but for `stride`), batch normalisation and, if asked for, ReLU."""
    convolution = nn.Conv2d(fan_in, fan_out, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(fan_out), *([nn.ReLU(inplace=True)] if relu else []))


def staged(children: Mapping[str, nn.Module]) -> nn.Sequential:
    """Return the children one after another, each under its name."""
    return nn.Sequential(OrderedDict(children))


def pooled_head(fan_in: int, num_classes: int) -> nn.Sequential:
    """Return the mean over the image and a linear layer to the classes."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, num_classes))


def keep_width(module: nn.Module) -> nn.Module:
    """Mark a layer whose outputs may not be removed, because what follows counts on their number; return it."""
    module.keeps_width = True  # type: ignore[assignment]
    return module


def island(module: nn.Module) -> nn.Module:
    """Mark a part whose inner channels are removed by themselves, because splits and shuffles hide what is around; return it.

    A network that has islands loses channels only in them.
    """
    module.is_island = True  # type: ignore[assignment]
    return module
