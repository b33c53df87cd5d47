"""The student's weight matrices, or what they span, are its teacher's in the student's shapes (L2-SP; Li et al., 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Loss
from tutelage.losses._vectors import unit
from tutelage.networks import inherit
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"distance": {"choice": ["l2", "subspace"]}}
NEEDS: frozenset[Need] = frozenset({"weights"})


class Config(PluginConfig):
    """Which matrices are compared, and how."""

    match: inherit.Match = Field("name", description="which matrices are compared: those of one name, or of one depth")
    distance: Literal["l2", "subspace"] = Field(
        "l2", description="l2: of the numbers; subspace: of the input directions that a matrix takes up most"
    )


class WeightAlignment(nn.Module):
    """The distance of the student's matrices and kernels from its teacher's in the student's shapes (`inherit.aligned`).

    Which are compared, by name, is settled by the outlines: in them weights stand in order of depth, in a file they need not.

    `l2`: Σ ‖w_s - w_t‖² / Σ ‖w_t‖² over all of them; 0 for a student that was initialised from its teacher and has not moved, 1
    for one whose weights are all 0. `subspace`: the mean of `subspace_distance`; 0 for any student whose matrices are its
    teacher's turned on the output side, or scaled.
    """

    def __init__(self, config: Config, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self.config, self.pairs = config, pairs
        self._source: Mapping[str, Tensor] | None = None
        self._targets: dict[str, Tensor] = {}

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        if self._source is not teacher.weights:  # a projection is worth keeping: it is the same at every step
            shapes = {name: weight.shape for name, weight in student.weights.items()}
            self._source, self._targets = (
                teacher.weights,
                inherit.aligned(teacher.weights, shapes, self.pairs, self.config.match),
            )
        pairs = [(student.weights[name], target) for name, target in self._targets.items()]
        if self.config.distance == "subspace":
            return torch.stack([subspace_distance(own.flatten(1), target.flatten(1)) for own, target in pairs]).mean()
        distance = torch.stack([(own - target).square().sum() for own, target in pairs]).sum()
        return distance / torch.stack([target.square().sum() for _, target in pairs]).sum()


def subspace_distance(own: Tensor, other: Tensor) -> Tensor:
    """Return ‖P - P'‖² / (‖P‖² + ‖P'‖²) of two matrices `[out, in]`, with P a soft projector on their input directions.

    P = A (A + λ)⁻¹ with A = WᵀW / ‖W‖² and λ = 1 / min(out, in), the mean of its eigenvalues: a direction that takes up more
    than the mean is near 1 in P, one that takes up less near 0. Nothing changes if a matrix is scaled or turned on its output
    side. It is smooth, where a projector on the first r singular vectors jumps.
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
    """Return R `[out, in]` with P = RᵀR of a wide matrix: Wᵀ(WWᵀ + λ)⁻¹W, of which only a matrix [out, out] is solved."""
    root: Tensor = torch.linalg.solve_triangular(_factor(normed @ normed.T), normed, upper=False)
    return root


def _factor(gram: Tensor) -> Tensor:
    """Return the Cholesky factor of gram + λ; λ keeps it well conditioned, whatever the matrix's rank."""
    factor: Tensor = torch.linalg.cholesky(gram + torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / len(gram))
    return factor


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` for a pair that has no matrix to compare."""
    pairs = inherit.matched(student.weights, teacher.weights, config.match)
    if not pairs:
        way = "Give both the same family, the student no wider; or match: depth." if config.match == "name" else ""
        raise InputError(
            f"loss 'weights' compares matrices of one {config.match}, and no matrix of the teacher is one of the student's or "
            f"larger. {way or 'Give the student fewer channels, or use another loss.'}"
        )
    return WeightAlignment(config, pairs)
