"""A reader of lines: convolutions over the image, and recurrent layers over its columns (CRNN; Shi, Bai and Yao, 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.masks import strided
from tutelage.models import heads, keep_width, over_steps
from tutelage.models._recurrent import Bidirectional
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

# `stride` is no range: a student of another stride than its teacher's has no steps to compare. A spec can search it.
SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [4, 16], "step": 4}, "depth": {"int": [2, 3]}, "hidden": {"int": [16, 96], "step": 16},
}  # fmt: skip
KINDS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Config(PluginConfig):
    """Size of the network; its convolutions have `width`, 2·`width`, 4·`width`, … channels, and each halves the height."""

    width: int = Field(16, ge=1, le=4096, description="channels of the first convolution")
    depth: int = Field(3, ge=1, le=6, description="convolutions")
    stride: Literal[1, 2, 4, 8] = Field(4, description="columns of a step; the first convolutions halve the columns")
    kind: Literal["gru", "lstm"] = Field("gru", description="kind of the recurrent layers")
    hidden: int = Field(64, ge=1, le=4096, description="hidden units of a recurrent layer in each direction")
    layers: int = Field(1, ge=1, le=8, description="recurrent layers, each in both directions")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the recurrent layers' features set to 0 in training")


class Columns(nn.Module):
    """A 3×3 convolution that halves the height, layer norm and GELU, over columns `[batch, columns, channels * height]`."""

    def __init__(self, fan_in: int, fan_out: int, height: int, stride: int) -> None:
        super().__init__()
        self.fan_in, self.height, self.stride = fan_in, height, stride
        self.convolution = keep_width(nn.Conv2d(fan_in, fan_out, 3, (2, stride), 1))
        self.norm = nn.LayerNorm(fan_out * halved(height))

    def forward(self, columns: Tensor, mask: Tensor) -> Tensor:
        """Return columns that are `stride` apart, 0 at padding."""
        maps = columns.unflatten(2, (self.fan_in, self.height)).permute(0, 2, 3, 1)
        found = self.convolution(maps).permute(0, 3, 1, 2).flatten(2)
        real = strided(mask, self.stride, found.shape[1]).unsqueeze(-1)
        return torch.where(real, functional.gelu(self.norm(found)), 0)


def halved(length: int) -> int:
    """Return the length behind a stride of 2."""
    return -(-length // 2)


class Crnn(nn.Module):
    """Convolutions `stage1`, `stage2`, …, recurrent layers as further stages, and the heads."""

    def __init__(
        self, convolutions: Sequence[Columns], recurrent: Sequence[nn.Module], width: int, signature: Signature
    ) -> None:
        super().__init__()
        self.strides = [one.stride for one in convolutions] + [1] * len(recurrent)
        for number, stage in enumerate((*convolutions, *recurrent), start=1):
            self.add_module(f"stage{number}", stage)
        self.norm = nn.LayerNorm(width)
        self.head = heads(width, signature)

    def forward(self, columns: Tensor, mask: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits of every label sequence for lines `[batch, columns, channels, height]`."""
        features = torch.where(mask[:, :, None, None], columns, 0).flatten(2)
        for number, stride in enumerate(self.strides, start=1):
            features = self.get_submodule(f"stage{number}")(features, mask)
            mask = strided(mask, stride, features.shape[1])
        features = self.norm(features)
        return over_steps(self.head, features, mask)


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from lines and their mask `[batch, columns]` to the logits of every label sequence.

    Raises `InputError` for other examples than lines, and for a stride that takes more convolutions than there are.
    """
    channels, height = line_shape(signature)
    halvings = config.stride.bit_length() - 1
    if halvings > config.depth:
        raise InputError(
            f"model 'crnn': {config.depth} convolutions cannot halve the columns {halvings} times, as a stride of "
            f"{config.stride} needs. Raise depth, or lower stride."
        )
    convolutions = []
    for number, (fan_in, fan_out) in enumerate(pairwise([channels, *(config.width * 2**n for n in range(config.depth))])):
        convolutions.append(Columns(fan_in, fan_out, height, 2 if number < halvings else 1))
        channels, height = fan_out, halved(height)
    fans = [channels * height, *[2 * config.hidden] * (config.layers - 1)]
    recurrent = [Bidirectional(KINDS[config.kind], fan_in, config.hidden, config.dropout) for fan_in in fans]
    return Crnn(convolutions, recurrent, 2 * config.hidden, signature)


def line_shape(signature: Signature) -> tuple[int, int]:
    """Return the channels and the height of lines. Raises `InputError` for other examples."""
    inputs = signature.inputs
    if len(inputs) != 1 or inputs[0].kind != "frames" or not inputs[0].is_ragged or len(inputs[0].shape) != 3:
        listed = ", ".join(f"{one.kind} {one.shape}" for one in inputs)
        raise InputError(f"model 'crnn' takes images of lines [columns, channels, height]; the data has {listed}.")
    _, channels, height = inputs[0].typical_shape
    return channels, height
