"""A single-stage detector: residual convolutions, a feature pyramid, and one head for the cells of all strides."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.models import keep_width, normed_conv
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [4, 16], "step": 4}, "depth": {"int": [1, 2]}, "neck": {"int": [16, 64], "step": 16},
}  # fmt: skip
CLASS, EDGES, SIDES = "class", "edges", 4  # the outputs, and the edges of a cell
FOREGROUND = 0.01  # the probability of an object in a cell before training, as of the focal loss (Lin et al., 2017)


class Config(PluginConfig):
    """Size of the network; its stages have `width`, 2·`width`, 4·`width`, … channels, and each halves the image."""

    width: int = Field(8, ge=1, le=4096, description="channels of the first stage")
    depth: int = Field(1, ge=1, le=16, description="residual blocks of a stage")
    stages: int = Field(3, ge=1, le=6, description="stages; the last has a stride of 2 to the power of their number, in pixels")
    levels: int = Field(1, ge=1, le=6, description="last stages whose cells are output: 1 has one stride, 2 has two, …")
    neck: int = Field(32, ge=1, le=4096, description="channels of the feature pyramid and of the head")

    @model_validator(mode="after")
    def _has_levels(self) -> Config:
        if self.levels > self.stages:
            raise ValueError("levels is at most stages.")
        return self


class Residual(nn.Module):
    """Two 3×3 convolutions with batch normalisation, and a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(normed_conv(width, width, 3), normed_conv(width, width, 3, relu=False))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return functional.relu(features + self.layers(features))


class Head(nn.Module):
    """A 3×3 convolution, and the logits of each cell's class and edges, alike for the features of all strides."""

    def __init__(self, width: int, num_classes: int, bins: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(keep_width(nn.Conv2d(width, width, 3, padding=1)), nn.GroupNorm(1, width), nn.ReLU())
        self.classes = keep_width(nn.Conv2d(width, num_classes, 1))
        self.edges = keep_width(nn.Conv2d(width, SIDES * bins, 1))
        nn.init.constant_(self.classes.bias[:1], log((num_classes - 1) * (1 - FOREGROUND) / FOREGROUND))  # type: ignore

    def forward(self, levels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return `class` `[batch, cells, classes]` and `edges` `[batch, 4 * cells, bins]` from features `[batch, width, …]`."""
        found = [self.tower(features) for features in levels]
        classes = torch.cat([_by_cell(self.classes(one)) for one in found], dim=1)
        edges = torch.cat([_by_cell(self.edges(one)) for one in found], dim=1)
        bins = edges.shape[-1] // SIDES
        return {CLASS: classes, EDGES: edges.reshape(-1, SIDES * edges.shape[1], bins)}


def _by_cell(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


class Detector(nn.Module):
    """The stages of the body, `stage1`, `stage2`, …; those of the pyramid, one a stride, after them; and the head."""

    def __init__(self, config: Config, channels: int, signature: Signature) -> None:
        super().__init__()
        widths = [channels, *(config.width * 2**number for number in range(config.stages))]
        self.body = [f"stage{number}" for number in range(1, 1 + config.stages)]
        self.levels = self.body[-config.levels :]
        self.head_stages = [f"stage{config.stages + number}" for number in range(1, 1 + config.levels)]
        for name, fan_in, fan_out in zip(self.body, widths[:-1], widths[1:], strict=True):
            blocks = [Residual(fan_out) for _ in range(config.depth)]
            self.add_module(name, nn.Sequential(normed_conv(fan_in, fan_out, 3, stride=2), *blocks))
        for level, output, fan_in in zip(self.levels, self.head_stages, widths[-config.levels :], strict=True):
            self.add_module(f"lateral_{level}", nn.Conv2d(fan_in, config.neck, 1))
            self.add_module(output, normed_conv(config.neck, config.neck, 3))
        self.head = Head(config.neck, signature.classes[CLASS], signature.classes[EDGES])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits of the cells' classes and edges, of the smallest stride first."""
        features, found = images, dict[str, Tensor]()
        for name in self.body:
            features = found[name] = self.get_submodule(name)(features)
        merged: list[Tensor] = []
        for level in reversed(self.levels):
            own = self.get_submodule(f"lateral_{level}")(found[level])
            if merged:  # of the pyramid (Lin et al., 2017), from the largest stride down
                own = own + functional.interpolate(merged[0], own.shape[-2:], mode="nearest")
            merged.insert(0, own)
        outputs = [self.get_submodule(name)(one) for name, one in zip(self.head_stages, merged, strict=True)]
        return dict(self.head(outputs))


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images to the classes and edges of cells.

    Raises `InputError` for other examples than images, and for other outputs than those of task `detection`.
    """
    shapes = [spec.shape for spec in signature.inputs]
    if len(shapes) != 1 or signature.inputs[0].kind != "image" or set(signature.classes) != {CLASS, EDGES}:
        raise InputError(
            f"model 'detector' takes one image and gives {CLASS} and {EDGES}, as task 'detection' needs; here are inputs "
            f"{', '.join(map(str, shapes))} and outputs {', '.join(signature.classes)}."
        )
    channels, height, width = signature.inputs[0].typical_shape
    if min(height, width) < 2**config.stages:
        raise InputError(
            f"model 'detector': {config.stages} stages halve an image of {(height, width)} px to less than one pixel."
        )
    return Detector(config, channels, signature)
