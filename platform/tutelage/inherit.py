"""A teacher's weights cut to a smaller network's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


def cut(weights: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Return, for every name that both have and whose shape fits, the teacher's tensor cut to the wanted shape.

    A tensor is cut to its first channels along every axis, the same channels in every layer, so that what one layer gives
    is what the next one takes. A name fits if the axes are as many, and none is longer in the smaller network.
    """
    return {
        name: tensor[tuple(slice(length) for length in shapes[name])].clone()
        for name, tensor in weights.items()
        if name in shapes and fits(shapes[name], tensor.shape)
    }


def fits(wanted: Sequence[int], given: Sequence[int]) -> bool:
    """Return whether a tensor of shape `given` can be cut to `wanted`."""
    return len(wanted) == len(given) and all(short <= long for short, long in zip(wanted, given, strict=True))


projected = cut
