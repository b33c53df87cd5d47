"""The data's inputs as an ONNX network takes them: normalised in its way, with its channels, and at its size."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.signature import InputSpec


class Normalised(nn.Module):
    """An input normalised by another mean and deviation, of the stored numbers, than those of the data; one value a channel.

    Numbers that the data or the network do not normalise have the mean 0 and the deviation 1.
    """

    def __init__(self, given: InputSpec, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        pairs = ((given.mean, given.std), (mean, std))
        lists = [(tuple(middle) or (0.0,), tuple(spread) or (1.0,)) for middle, spread in pairs]
        width = max(len(one) for pair in lists for one in pair)
        (shift, scale), (middle, spread) = ([one * (width if len(one) == 1 else 1) for one in pair] for pair in lists)
        self.axis, self.is_changed = (2 if given.is_ragged else 1), (shift, scale) != (middle, spread)
        factors = [a / b for a, b in zip(scale, spread, strict=True)]
        offsets = [(a - c) / b for a, b, c in zip(shift, spread, middle, strict=True)]
        self.register_buffer("factors", torch.tensor(factors, device="cpu"), persistent=False)
        self.register_buffer("offsets", torch.tensor(offsets, device="cpu"), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Return the numbers as the network takes them."""
        if not self.is_changed:
            return values
        shape = (-1,) + (1,) * (values.ndim - self.axis - 1)
        factors, offsets = (self.get_buffer(name).to(values.device).view(shape) for name in ("factors", "offsets"))
        return values * factors + offsets


def check_channels(path: Path, taken: int | None, given: int) -> int:
    """Return the channels that a network takes; grey images are repeated. Raises `InputError` for other numbers."""
    if taken is not None and given not in (1, taken):
        raise InputError(
            f"{path}: the network takes images of {taken} channels, and the data have {given}. Channels are the second "
            "dimension of its input: export a network with channels last anew, with channels first."
        )
    return given if taken is None else taken


def check_means(path: Path, mean: Sequence[float], std: Sequence[float], channels: int, given: InputSpec) -> None:
    """Raise `InputError` for means of other channels than a network takes, or of pixels from 0 to 1 where the data have others.

    No mean is allowed, and one stands for all channels.
    """
    if len(mean) not in (0, 1, channels):
        raise InputError(
            f"{path}: {len(mean)} numbers are given as mean and std, and the network takes {channels} channels. Give one a "
            "channel, or one for all."
        )
    if given.kind != "vector" and max(std, default=1.0) < 1 < max(given.std, default=1.0):
        raise InputError(
            f"{path}: std {', '.join(f'{one:g}' for one in std)} is that of pixels from 0 to 1, and the data's is "
            f"{max(given.std):.4g}. Give mean and std in units of the stored numbers: multiply them by 255."
        )


def images_for(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Return images `[batch, channels, height, width]`, grey ones repeated, and bilinearly resized where their size differs."""
    if images.shape[-2:] != (height, width):
        images = functional.interpolate(images, size=(height, width), mode="bilinear", antialias=True)
    return images.expand(-1, channels, -1, -1)


def line_for(columns: Tensor, channels: int, height: int, stride: int, step_px: int) -> Tensor:
    """Return one line `[columns, channels, height]` as an image `[1, channels, height, width]` of a network.

    `stride` columns become the `step_px` pixels of one of its steps; the last column is repeated up to a whole step.
    """
    image = columns.permute(1, 2, 0).unsqueeze(0)
    steps = -(-image.shape[3] // stride)
    image = functional.pad(image, (0, steps * stride - image.shape[3], 0, 0), mode="replicate")
    return images_for(image, channels, height, steps * step_px)


def nearest_stride(step_px: int, height: int, given_height: int) -> int:
    """Return the power of two nearest to the columns of a step if lines are scaled to the network's height in proportion."""
    return 1 << max(0, round(log2(step_px * given_height / height)))
