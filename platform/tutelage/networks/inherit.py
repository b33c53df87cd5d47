"""A teacher's weights in a smaller network's shapes: cut to its first channels, or projected by leading singular vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

Match = Literal["name", "depth"]
Shapes = Mapping[str, Sequence[int]]
T = TypeVar("T")


def cut(weights: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Return, for every name that both have and whose shape fits, the teacher's tensor cut to the wanted shape.

    A tensor is cut to its first channels along every axis, the same channels in every layer, so that what one layer gives
    is what the next one takes. A name fits if the axes are as many, and none is longer in the smaller network.
    """
    return {
        name: tensor[tuple(slice(length) for length in shapes[name])].clone()
        for name, tensor in weights.items()
        if name in shapes and fits(shapes[name], tensor.shape)
    }


def projected(weights: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Return, for every matrix or kernel that both have by name and whose shape fits, the teacher's `project`ed to the shape.

    Norms and biases belong to channels, which a projection mixes; they are left to the smaller network.
    """
    return {
        name: project(tensor, shapes[name])
        for name, tensor in weights.items()
        if name in shapes and tensor.ndim > 1 and fits(shapes[name], tensor.shape)
    }


def project(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `tensor` with every longer axis reduced to its leading directions (higher-order SVD; De Lathauwer et al., 2000).

    Along an axis these are the leading left singular vectors of the tensor unfolded along it, signs such that the largest
    entry of each is positive. Of a matrix with one axis reduced, no projection to that size keeps more of its square sum.
    An axis of the wanted length stays as it is.
    """
    for axis, length in enumerate(shape):
        if length < tensor.shape[axis]:
            basis = _leading(tensor, axis, length)
            tensor = torch.tensordot(basis.T, tensor.movedim(axis, 0), dims=1).movedim(0, axis)
    return tensor.contiguous()


def _leading(tensor: Tensor, axis: int, count: int) -> Tensor:
    """Return the `count` leading left singular vectors `[length, count]` of the tensor unfolded along `axis`."""
    unfolded = tensor.movedim(axis, 0).flatten(1).double()
    _, vectors = torch.linalg.eigh(unfolded @ unfolded.T)
    basis = vectors.flip(1)[:, :count]
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    signed: Tensor = (basis * largest.sign()).to(tensor.dtype)
    return signed


def aligned(weights: Mapping[str, Tensor], shapes: Shapes, pairs: Sequence[tuple[str, str]], match: Match) -> dict[str, Tensor]:
    """Return the teacher's matrices and kernels that `matched`, under the smaller network's names and in its `shapes`.

    By name they are cut; by depth they are flattened to [out, rest] and projected.
    """
    if match == "name":
        return cut(weights, {name: shapes[name] for name, _ in pairs})
    return {name: project(weights[other].flatten(1), _flat(shapes[name])).view(*shapes[name]) for name, other in pairs}


def matched(shapes: Shapes, others: Shapes, match: Match) -> list[tuple[str, str]]:
    """Return which of the smaller network's matrices, by name, is compared with which of the other's.

    By depth, in which both are in order, they are spread evenly over each other, the last with the last. One that is smaller
    than its partner along an axis is left out.
    """
    own, theirs = ([name for name, shape in of.items() if len(shape) > 1] for of in (shapes, others))
    if match == "name":
        return [(name, name) for name in own if name in others and fits(shapes[name], others[name])]
    count = min(len(own), len(theirs))
    pairs = zip(spread(own, count), spread(theirs, count), strict=True)
    return [(name, other) for name, other in pairs if fits(_flat(shapes[name]), _flat(others[other]))]


def _flat(shape: Sequence[int]) -> tuple[int, int]:
    rest = 1
    for length in shape[1:]:
        rest *= length
    return shape[0], rest


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return `count` of the items, evenly spread, the last one among them."""
    return [items[len(items) * (i + 1) // count - 1] for i in range(count)]


def fits(wanted: Sequence[int], given: Sequence[int]) -> bool:
    """Return whether a tensor of shape `given` can be cut to `wanted`."""
    return len(wanted) == len(given) and all(short <= long for short, long in zip(wanted, given, strict=True))
