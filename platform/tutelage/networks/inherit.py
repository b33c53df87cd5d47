"""A teacher's weights reduced to a smaller network's shapes: cut to the first channels, or projected by SVD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

Match = Literal["name", "depth"]
Shapes = Mapping[str, Sequence[int]]
T = TypeVar("T")


def cut(weights: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Return the teacher's tensors, cut to `shapes`, for all names that both have and that fit.

    A tensor is cut to its first channels along every axis. These are the same channels in every layer, so consecutive layers
    match. A tensor fits if it has as many axes, and if no axis is longer in the smaller network.
    """
    return {
        name: tensor[tuple(slice(length) for length in shapes[name])].clone()
        for name, tensor in weights.items()
        if name in shapes and fits(shapes[name], tensor.shape)
    }


def projected(weights: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Return the teacher's matrices and kernels, projected to `shapes` (`project`), for all names that both have and that fit.

    Norms and biases are not inherited, because they belong to channels, which a projection mixes.
    """
    return {
        name: project(tensor, shapes[name])
        for name, tensor in weights.items()
        if name in shapes and tensor.ndim > 1 and fits(shapes[name], tensor.shape)
    }


def project(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `tensor` with every longer axis reduced to its leading directions (higher-order SVD; De Lathauwer et al., 2000).

    Along an axis these are the leading left singular vectors of the tensor unfolded along it; their signs are chosen so that
    the largest entry of each is positive. For a matrix with one reduced axis, no projection to that size retains more of its
    squared norm. Axes of the required length do not change.
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
    """Return the teacher's matrices and kernels of the `pairs` from `matched`, by the smaller network's names, in its `shapes`.

    Weights matched by name are cut; those matched by depth are flattened to `[out, rest]` and projected.
    """
    if match == "name":
        return cut(weights, {name: shapes[name] for name, _ in pairs})
    return {name: project(weights[other].flatten(1), _flat(shapes[name])).view(*shapes[name]) for name, other in pairs}


def matched(shapes: Shapes, others: Shapes, match: Match) -> list[tuple[str, str]]:
    """Return pairs of names: a matrix or kernel of the smaller network, and its counterpart in the other network.

    By depth, both lists are in order of depth; evenly spaced entries are paired, the last with the last. Pairs in which the
    other network's matrix is smaller along an axis are omitted.
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
    """Return `count` evenly spaced items, the last one included."""
    return [items[len(items) * (i + 1) // count - 1] for i in range(count)]


def fits(wanted: Sequence[int], given: Sequence[int]) -> bool:
    """Return whether a tensor of shape `given` can be cut to `wanted`."""
    return len(wanted) == len(given) and all(short <= long for short, long in zip(wanted, given, strict=True))
