"""Alignment of the student's weight matrices, or of the subspaces they span, with the teacher's (L2-SP; Li et al., 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Loss
from tutelage.losses._vectors import relative, unit
from tutelage.networks import inherit
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"distance": {"choice": ["l2", "subspace"]}}
NEEDS: frozenset[Need] = frozenset({"weights"})


class Config(PluginConfig):
    """The matrices that are compared, and their distance."""

    match: inherit.Match = Field("name", description="which matrices are compared: those of equal name, or of equal depth")
    distance: Literal["l2", "subspace"] = Field(
        "l2", description="l2: of the weights; subspace: of the leading input directions of a matrix"
    )


class WeightAlignment(nn.Module):
    """The distance of the student's matrices and kernels from the teacher's, which are reduced to the student's shapes.

    The outlines determine the pairs, because they list weights in order of depth; a file may list them in another order.
    `inherit.aligned` reduces the teacher's weights.

    `l2`: Σ ‖w_s - w_t‖² / Σ ‖w_t‖² over all pairs; 0 for a student with its teacher's weights, 1 for one whose weights are all
    0. `subspace`: the mean of `subspace_distance`; 0 for a student whose matrices are the teacher's, rotated on the output side
    or scaled.
    """

    def __init__(self, config: Config, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self.config, self.pairs = config, pairs
        self._source: Mapping[str, Tensor] | None = None
        self._targets: dict[str, Tensor] = {}

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        if self._source is not teacher.weights:  # the teacher's weights do not change: project them once
            shapes = {name: weight.shape for name, weight in student.weights.items()}
            self._source, self._targets = (
                teacher.weights,
                inherit.aligned(teacher.weights, shapes, self.pairs, self.config.match),
            )
        pairs = [(student.weights[name], target) for name, target in self._targets.items()]
        if self.config.distance == "subspace":
            return torch.stack([subspace_distance(own.flatten(1), target.flatten(1)) for own, target in pairs]).mean()
        distance = torch.stack([(own - target).square().sum() for own, target in pairs]).sum()
        return relative(distance, torch.stack([target.square().sum() for _, target in pairs]).sum())


def subspace_distance(own: Tensor, other: Tensor) -> Tensor:
    """Return ‖P - P'‖² / (‖P‖² + ‖P'‖²) of two matrices `[out, in]`, where P is a soft projector onto input directions.

    P = A (A + λ)⁻¹ with A = WᵀW / ‖W‖² and λ = 1 / min(out, in), the mean of A's eigenvalues. Directions with a larger
    eigenvalue than the mean have values near 1 in P, the others near 0. The distance does not change if a matrix is scaled or
    rotated on its output side. It is smooth; a projector onto the first r singular vectors is not.
    """
    first, second = (unit(matrix.flatten()).view_as(matrix) for matrix in (own, other))
    if own.shape[0] > own.shape[1]:
        first, second = _projector(first), _projector(second)
        both, common = first.square().sum() + second.square().sum(), (first * second).sum()
    else:
        first, second = _projector_root(first), _projector_root(second)
        both = (first @ first.T).square().sum() + (second @ second.T).square().sum()
        common = (first @ second.T).square().sum()
    return (both - 2 * common).clamp(min=0) / both.clamp(min=torch.finfo(both.dtype).tiny)


def _projector(normed: Tensor) -> Tensor:
    """Return P `[in, in]` of a tall matrix."""
    gram = normed.T @ normed
    return torch.cholesky_solve(gram, _factor(gram))


def _projector_root(normed: Tensor) -> Tensor:
    """Return R `[out, in]` with P = RᵀR = Wᵀ(WWᵀ + λ)⁻¹W of a wide matrix; only a system `[out, out]` is solved."""
    root: Tensor = torch.linalg.solve_triangular(_factor(normed @ normed.T), normed, upper=False)
    return root


def _factor(gram: Tensor) -> Tensor:
    """Return the Cholesky factor of gram + λ, which is well conditioned for any rank of the matrix."""
    factor: Tensor = torch.linalg.cholesky(gram + torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / len(gram))
    return factor


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` for a pair of networks without matrices to compare."""
    pairs = inherit.matched(student.weights, teacher.weights, config.match)
    if not pairs:
        remedy = (
            "Use the same family for both and a student that is not wider, or match: depth." if config.match == "name" else ""
        )
        raise InputError(
            f"loss 'weights' compares matrices of equal {config.match}, and no matrix of the teacher is at least as large as "
            f"the student's. {remedy or 'Give the student fewer channels, or use another loss.'}"
        )
    return WeightAlignment(config, pairs)
