"""A network for clips: convolutions over each frame, and a recurrent layer over the frames' features."""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.models import heads, keep_width, over_steps
from tutelage.models._recurrent import Bidirectional
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [4, 16], "step": 4}, "depth": {"int": [2, 3]}, "hidden": {"int": [16, 64], "step": 16},
}  # fmt: skip


class Config(PluginConfig):
    """Size of the network; its convolutions have `width`, 2·`width`, 4·`width`, … channels, and each halves a frame."""

    width: int = Field(8, ge=1, le=4096, description="channels of the first convolution")
    depth: int = Field(3, ge=1, le=6, description="convolutions over a frame")
    hidden: int = Field(32, ge=1, le=4096, description="hidden units of the recurrent layer in each direction")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the recurrent layer's features set to 0 in training")


class Frames(nn.Module):
    """3×3 convolutions over each frame, each halving its sides, as features `[batch, frames, channels * height * width]`."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [keep_width(nn.Conv2d(fan_in, fan_out, 3, 2, 1)), nn.GroupNorm(1, fan_out), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Return the features of clips `[batch, frames, channels, height, width]`, 0 at padding."""
        known = torch.where(mask[:, :, None, None, None], clips, 0)
        found = self.layers(known.flatten(0, 1)).flatten(1).unflatten(0, mask.shape)
        return torch.where(mask.unsqueeze(-1), found, 0)


class FrameGru(nn.Module):
    """The features of frames, `stage1`, a GRU in both directions over them, `stage2`, and the heads."""

    def __init__(self, frames: Frames, features: int, config: Config, signature: Signature) -> None:
        super().__init__()
        self.stage1, self.stage2 = frames, Bidirectional(nn.GRU, features, config.hidden, config.dropout)
        self.norm = nn.LayerNorm(2 * config.hidden)
        self.head = heads(2 * config.hidden, signature)

    def forward(self, clips: Tensor, mask: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits of every label sequence for clips and their mask `[batch, frames]`."""
        features = self.norm(self.stage2(self.stage1(clips, mask), mask))
        return over_steps(self.head, features, mask)


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from clips and their mask to the logits of every label sequence.

    Raises `InputError` for other examples than clips.
    """
    inputs = signature.inputs
    if len(inputs) != 1 or inputs[0].kind != "frames" or not inputs[0].is_ragged or len(inputs[0].shape) != 4:
        listed = ", ".join(f"{one.kind} {one.shape}" for one in inputs)
        raise InputError(f"model 'frame_gru' takes clips [frames, channels, height, width]; the data has {listed}.")
    _, channels, height, width = inputs[0].typical_shape
    for _ in range(config.depth):
        height, width = -(-height // 2), -(-width // 2)
    widths = [channels, *(config.width * 2**number for number in range(config.depth))]
    return FrameGru(Frames(widths), widths[-1] * height * width, config, signature)
