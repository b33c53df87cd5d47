"""Sparse label sequences: the largest logits of a step, and the mass of the other classes at any temperature.

With a = 1 / T, the mass of the others is exp f(a), where f(a) = log Σ exp(a · gap). f is smooth, because it is a
cumulant-generating function, and f(0) is the log of the number of other classes. So f can be interpolated for all
temperatures of at least 1 from its values at 0 and at four Chebyshev nodes of T = 1 … 20, and a search over temperatures
needs no dense logits. A step with k classes needs 3k + 8 bytes for up to 256 classes (float16 gaps, uint8 classes).

The distribution of the others' mass r is lost. A divergence over the k + 1 bins is below the dense one by exactly
r · KL(teacher's others ‖ student's others), with both normalised (the chain rule). For k = number of classes the error is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

TEMPERATURES = (1.0, 20.0)
NUM_NODES = 4
PARTS = ("classes", "gaps", "tails")


@dataclass(frozen=True, kw_only=True)
class TopClasses:
    """The k largest logits of each step, and the mass of the other classes.

    `classes` (int64) and `gaps` (float32) are `[batch, steps, k]`. A gap is a logit minus the largest logit, so at most 0.
    `tails` `[batch, steps, 4]` is f at the nodes, and `num_others` is the number of other classes.
    """

    classes: Tensor
    gaps: Tensor
    tails: Tensor
    num_others: int

    def log_probabilities(self, temperature: float) -> Tensor:
        """Return the log-probabilities of the k classes and of all others together, `[batch, steps, k + 1]`."""
        scores = torch.cat([self.gaps / temperature, self.tail(temperature).unsqueeze(-1)], dim=-1)
        return scores.log_softmax(dim=-1)

    def tail(self, temperature: float) -> Tensor:
        """Return f(1 / T) `[batch, steps]`; below T = 1 it is extrapolated and less accurate."""
        at_zero, *at_nodes = _lagrange(1.0 / temperature)
        weights = torch.tensor(at_nodes, dtype=self.tails.dtype, device=self.tails.device)
        return self.tails @ weights + at_zero * math.log(self.num_others)


def coarse_log_probabilities(logits: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return a student's log-probabilities of `classes` `[…, k]` and of all others together, `[…, k + 1]`, at a temperature.

    `logits` are `[…, all classes]`. The mass of the others is a sum over them, because 1 - Σ cancels.
    """
    logs = (logits / temperature).log_softmax(dim=-1)
    others = logs.scatter(-1, classes, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logs.gather(-1, classes), others], dim=-1)


def compressed(logits: Tensor, k: int) -> dict[str, Tensor]:
    """Return the sparse parts of logits `[…, classes]`: classes, gaps and tails; k is below the number of classes."""
    top, classes = logits.float().topk(k, dim=-1)
    gaps = logits.float() - top[..., :1]
    rest = gaps.scatter(-1, classes, float("-inf"))
    tails = torch.stack([(rest * node).logsumexp(dim=-1) for node in _nodes()], dim=-1)
    return {"classes": classes, "gaps": top - top[..., :1], "tails": tails}


def restored(parts: Mapping[str, Tensor], num_classes: int) -> TopClasses:
    """Return the stored parts of `compressed` as `TopClasses`; the dense logits had `num_classes`."""
    classes = parts["classes"].long()
    return TopClasses(
        classes=classes, gaps=parts["gaps"].float(), tails=parts["tails"].float(), num_others=num_classes - classes.shape[-1]
    )


def index_dtype(num_classes: int) -> str:
    """Return the smallest integer type for the indices of `num_classes` classes."""
    return "uint8" if num_classes <= 2**8 else "uint16" if num_classes <= 2**16 else "int32"


@lru_cache(maxsize=1)
def _nodes() -> tuple[float, ...]:
    low, high = 1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]
    angles = (2 * np.arange(NUM_NODES) + 1) * np.pi / (2 * NUM_NODES)
    return tuple(((low + high) / 2 + (high - low) / 2 * np.cos(angles)).tolist())


@lru_cache(maxsize=256)
def _lagrange(at: float) -> tuple[float, ...]:
    """Return the Lagrange weights, at `at`, of the interpolating polynomial through 0 and the nodes."""
    nodes = np.array([0.0, *_nodes()])
    weights = [np.prod((at - np.delete(nodes, i)) / (node - np.delete(nodes, i))) for i, node in enumerate(nodes)]
    return tuple(float(weight) for weight in weights)
