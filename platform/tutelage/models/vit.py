"""A small vision transformer on patches, with mean pooling of the tokens (Dosovitskiy et al., 2021)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.models import heads, image_shape, keep_width, staged
from tutelage.models._attention import Attention, Block
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {
    "width": {"int": [32, 192], "step": 32},
    "depth": {"int": [2, 8]},
    "mlp_ratio": {"float": [1.0, 4.0]},
}

NUM_STAGES = 3


class Config(PluginConfig):
    """Size of the network."""

    patch_px: int = Field(4, ge=1, le=64, description="side of a patch, in pixels; it must divide the image's sides")
    width: int = Field(64, ge=8, le=4096, description="channels of a token")
    depth: int = Field(4, ge=1, le=64, description="transformer blocks, in three stages")
    heads: int = Field(4, ge=1, le=64, description="attention heads of a block; they must divide the width")
    mlp_ratio: float = Field(2.0, ge=0.25, le=8, description="hidden units of a block's perceptron, in token widths")


class Patches(nn.Module):
    """Patches of an image as tokens, with learnt position embeddings."""

    def __init__(self, channels: int, width: int, patch_px: int, positions: int) -> None:
        super().__init__()
        self.embedding = keep_width(nn.Conv2d(channels, width, patch_px, patch_px))
        self.position = nn.Parameter(0.02 * torch.randn(1, positions, width))

    def forward(self, images: Tensor) -> Tensor:
        """Return `[batch, positions, width]`."""
        tokens: Tensor = self.embedding(images).flatten(2).transpose(1, 2)
        return tokens + self.position


class Head(nn.Module):
    """Layer norm, the mean over the tokens, and the heads."""

    def __init__(self, width: int, signature: Signature) -> None:
        super().__init__()
        self.norm, self.classes = nn.LayerNorm(width), heads(width, signature)

    def forward(self, tokens: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits of every label sequence."""
        logits: Tensor | dict[str, Tensor] = self.classes(self.norm(tokens).mean(dim=1))
        return logits


def build(config: Config, signature: Signature) -> nn.Module:
    """Return a network from images `[batch, channels, height, width]` to logits `[batch, num_classes]`.

    Raises `InputError` if the patch size does not divide the image's sides, or the number of heads the width.
    """
    channels, height, width = image_shape("vit", signature)
    if height % config.patch_px or width % config.patch_px:
        raise InputError(f"model 'vit': patches of {config.patch_px} px do not divide an image of {height}×{width} px.")
    if config.width % config.heads:
        raise InputError(f"model 'vit': {config.heads} heads do not divide a width of {config.width}.")
    positions = (height // config.patch_px) * (width // config.patch_px)
    children: dict[str, nn.Module] = {"stem": Patches(channels, config.width, config.patch_px, positions)}
    hidden = round(config.mlp_ratio * config.width)
    for number, depth in enumerate(_blocks_per_stage(config.depth), start=1):
        blocks = (Block(Attention(config.width, config.heads), config.width, hidden) for _ in range(depth))
        children[f"stage{number}"] = nn.Sequential(*blocks)
    return staged({**children, "head": Head(config.width, signature)})


def _blocks_per_stage(depth: int) -> list[int]:
    """Return the number of blocks of each stage, as equal as possible and at least 1."""
    stages = min(NUM_STAGES, depth)
    return [depth * (i + 1) // stages - depth * i // stages for i in range(stages)]
