"""Sparse label sequences: the largest logits of a step, and the mass of the other classes at any temperature.

The mass of the others at temperature T is Σ exp(gap / T) over them, where a gap is a logit minus the largest one. It is
approximated by the same sum over four points, each with a gap and a weight: the Gauss-Radau quadrature (Golub, 1973) of the
others' gaps, weighted by their probabilities at a reference temperature R, with one point at the largest gap. R is 2, and
larger for a step whose others span more than 32 nats.

The sum is exact at R, and at every temperature if the others have at most four different logits. Otherwise it is too large
below R, by at most what makes all of R's mass decay like the largest gap, and too small above R. So a search over temperatures
needs no dense logits. A step with k classes needs 3k + 16 bytes for up to 256 classes (float16 gaps, uint8 classes).

Where only one temperature is used, the mass at that temperature is one number, and exact but for its rounding. It stands in
place of the first gap, which is always 0, so that a step needs 3k bytes.

The distribution of the others' mass r is lost. A divergence over the k + 1 bins is below the dense one by exactly
r · KL(teacher's others ‖ student's others), with both normalised (the chain rule). For k = number of classes the error is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NUM_POINTS = 4
REFERENCE_TEMPERATURE, WIDEST = 2.0, 16.0  # R, and the span of the others in units of R up to which it is R
PARTS = ("classes", "gaps", "tails")
LEAST = -6e4  # a float16 holds it


@dataclass(frozen=True, kw_only=True)
class TopClasses:
    """The k largest logits of each step, and the mass of the other classes.

    `classes` (int64) and `gaps` (float32) are `[batch, steps, k]`. A gap is a logit minus the largest logit, so at most 0.
    `tails` `[batch, steps, 8]` are the four points' gaps and the logarithms of their weights; or `[batch, steps, 1]`, the
    logarithm of the mass at the only temperature that is used.
    """

    classes: Tensor
    gaps: Tensor
    tails: Tensor

    def log_probabilities(self, temperature: float) -> Tensor:
        """Return the log-probabilities of the k classes and of all others together, `[batch, steps, k + 1]`."""
        scores = torch.cat([self.gaps / temperature, self.tail(temperature).unsqueeze(-1)], dim=-1)
        return scores.log_softmax(dim=-1)

    def tail(self, temperature: float) -> Tensor:
        """Return log Σ exp(gap / T) over the other classes, `[batch, steps]`."""
        if self.tails.shape[-1] == 1:
            return self.tails.squeeze(-1)
        gaps, log_weights = self.tails.split(NUM_POINTS, dim=-1)
        logs: Tensor = (gaps / temperature + log_weights).logsumexp(dim=-1)
        return logs


def coarse_log_probabilities(logits: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return a student's log-probabilities of `classes` `[…, k]` and of all others together, `[…, k + 1]`, at a temperature.

    `logits` are `[…, all classes]`. The mass of the others is a sum over them, because 1 - Σ cancels.
    """
    logs = (logits / temperature).log_softmax(dim=-1)
    others = logs.scatter(-1, classes, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logs.gather(-1, classes), others], dim=-1)


def compressed(logits: Tensor, k: int, temperature: float | None = None) -> dict[str, Tensor]:
    """Return the sparse parts of logits `[…, classes]`: classes, gaps and tails; k is below the number of classes.

    With the only `temperature` that is used, there are no tails, and the first gap is the logarithm of the others' mass.
    """
    top, classes = logits.float().topk(k, dim=-1)
    gaps, others = top - top[..., :1], (logits.float() - top[..., :1]).scatter(-1, classes, float("-inf"))
    if temperature is None:
        return {"classes": classes, "gaps": gaps, "tails": _points(others.double()).float()}
    mass = (others / temperature).logsumexp(dim=-1, keepdim=True)
    return {"classes": classes, "gaps": torch.cat([mass.clamp(LEAST, -LEAST), gaps[..., 1:]], dim=-1)}


def restored(parts: Mapping[str, Tensor]) -> TopClasses:
    """Return the stored parts of `compressed` as `TopClasses`."""
    classes, gaps = parts["classes"].long(), parts["gaps"].float()
    if "tails" in parts:
        return TopClasses(classes=classes, gaps=gaps, tails=parts["tails"].float())
    return TopClasses(classes=classes, gaps=functional.pad(gaps[..., 1:], (1, 0)), tails=gaps[..., :1])


def index_dtype(num_classes: int) -> str:
    """Return the smallest integer type for the indices of `num_classes` classes."""
    return "uint8" if num_classes <= 2**8 else "uint16" if num_classes <= 2**16 else "int32"


def _points(others: Tensor) -> Tensor:
    """Return the points' gaps and log weights `[…, 8]` of the others' gaps `[…, classes]`, which are -inf at the top classes.

    The points are the eigenvalues of the Jacobi matrix of the gaps, and their weights are the squared first components of its
    eigenvectors (Golub and Welsch, 1969).
    """
    largest = others.amax(dim=-1, keepdim=True)
    values = others.where(others.isfinite(), largest)
    reference = ((largest - values.amin(dim=-1, keepdim=True)) / WIDEST).clamp(min=REFERENCE_TEMPERATURE)
    shares, total = (others / reference).softmax(dim=-1), (others / reference).logsumexp(dim=-1, keepdim=True)
    diagonal, beside = _jacobi(values, shares)
    diagonal[..., -1] = _radau(diagonal, beside, largest.squeeze(-1))
    matrix = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    gaps, vectors = torch.linalg.eigh(matrix.nan_to_num())
    log_weights = vectors[..., 0, :].square().log() + total - gaps / reference
    return torch.cat([gaps, log_weights], dim=-1).clamp(LEAST, -LEAST)


def _jacobi(values: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Jacobi matrix of a distribution: its diagonal `[…, points]` and off-diagonal `[…, points - 1]` (Lanczos).

    The distribution has `values` with `shares`. If it has fewer values than points, the matrix falls into blocks. The last
    entry of the diagonal is 0, because the caller sets it.
    """
    vectors, diagonal, beside = [shares.sqrt()], list[Tensor](), list[Tensor]()
    for _ in range(NUM_POINTS - 1):
        product = values * vectors[-1]
        diagonal.append((product * vectors[-1]).sum(dim=-1))
        for vector in vectors:
            product = product - (product * vector).sum(dim=-1, keepdim=True) * vector
        length = torch.linalg.vector_norm(product, dim=-1, keepdim=True)
        is_new = length > 1e-7 * values.abs().amax(dim=-1, keepdim=True)  # shorter ones are rounding errors
        beside.append(torch.where(is_new, length, 0.0).squeeze(-1))
        vectors.append(torch.where(is_new, product / length, 0.0))
    return torch.stack([*diagonal, torch.zeros_like(diagonal[0])], dim=-1), torch.stack(beside, dim=-1)


def _radau(diagonal: Tensor, beside: Tensor, end: Tensor) -> Tensor:
    """Return the last diagonal entry with which the Jacobi matrix has the eigenvalue `end`, an end of the distribution."""
    pivot = diagonal[..., 0] - end
    for row in range(1, NUM_POINTS - 1):
        pivot = diagonal[..., row] - end - _ratio(beside[..., row - 1].square(), pivot)
    return end + _ratio(beside[..., -1].square(), pivot)


def _ratio(square: Tensor, pivot: Tensor) -> Tensor:
    """Return square / pivot; 0 where the square is 0."""
    return torch.where(square > 0, square / pivot.where(square > 0, 1.0), 0.0)
