"""Sparse label sequences: a step's largest logits, and the mass of all the others at any temperature.

With a = 1 / T, the others' mass is exp f(a), f(a) = log Σ exp(a · gap): smooth in a, since it is a cumulant-generating
function, and f(0) is the log of how many they are. So f at four Chebyshev nodes of T = 1 … 20 and at 0 gives it at every
temperature from 1 on, and a search over temperatures needs no dense logits. A step of k classes takes 3k + 8 bytes for up to
256 classes (float16 gaps, uint8 classes).

What is lost is how the others share their mass r. Coarse-grained to k + 1 bins, a divergence is still one, and too small by
exactly r · KL(teacher's others ‖ student's others), each normalised (the chain rule); without others, k = classes, by nothing.
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
    """The k largest logits of a step, and the mass of all the others.

    `classes` int64 and `gaps` float32 are `[batch, steps, k]`: logits less the largest one, so at most 0. `tails`
    `[batch, steps, 4]` is f at the nodes; the others are `num_others` classes.
    """

    classes: Tensor
    gaps: Tensor
    tails: Tensor
    num_others: int

    def log_probabilities(self, temperature: float) -> Tensor:
        """Return the log of the k classes' probabilities and of the others' mass, `[batch, steps, k + 1]`, at T."""
        scores = torch.cat([self.gaps / temperature, self.tail(temperature).unsqueeze(-1)], dim=-1)
        return scores.log_softmax(dim=-1)

    def tail(self, temperature: float) -> Tensor:
        """Return f(1 / T) `[batch, steps]`; below T = 1 it is extrapolated, and less exact."""
        at_nought, *at_nodes = _lagrange(1.0 / temperature)
        weights = torch.tensor(at_nodes, dtype=self.tails.dtype, device=self.tails.device)
        return self.tails @ weights + at_nought * math.log(self.num_others)


def coarse_log_probabilities(logits: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return a student's log-probabilities of `classes` `[…, k]` and of all others together, `[…, k + 1]`, at T.

    `logits` are `[…, all classes]`. The others' mass is summed over them, not taken as 1 - Σ, which cancels.
    """
    logs = (logits / temperature).log_softmax(dim=-1)
    others = logs.scatter(-1, classes, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.cat([logs.gather(-1, classes), others], dim=-1)


def compressed(logits: Tensor, k: int) -> dict[str, Tensor]:
    """Return the parts that are kept of logits `[…, classes]`: classes, gaps and tails, for k below the number of classes."""
    top, classes = logits.float().topk(k, dim=-1)
    gaps = logits.float() - top[..., :1]
    rest = gaps.scatter(-1, classes, float("-inf"))
    tails = torch.stack([(rest * node).logsumexp(dim=-1) for node in _nodes()], dim=-1)
    return {"classes": classes, "gaps": top - top[..., :1], "tails": tails}


def restored(parts: Mapping[str, Tensor], num_classes: int) -> TopClasses:
    """Return what `compressed` gave of `num_classes`, as it was stored, ready to be computed with."""
    classes = parts["classes"].long()
    return TopClasses(
        classes=classes, gaps=parts["gaps"].float(), tails=parts["tails"].float(), num_others=num_classes - classes.shape[-1]
    )


def index_dtype(num_classes: int) -> str:
    """Return the smallest type that holds every class's number."""
    return "uint8" if num_classes <= 2**8 else "uint16" if num_classes <= 2**16 else "int32"


@lru_cache(maxsize=1)
def _nodes() -> tuple[float, ...]:
    low, high = 1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]
    angles = (2 * np.arange(NUM_NODES) + 1) * np.pi / (2 * NUM_NODES)
    return tuple(((low + high) / 2 + (high - low) / 2 * np.cos(angles)).tolist())


@lru_cache(maxsize=256)
def _lagrange(at: float) -> tuple[float, ...]:
    """Return the weights of f's values at 0 and at the nodes in the polynomial through them, taken at `at`."""
    nodes = np.array([0.0, *_nodes()])
    weights = [np.prod((at - np.delete(nodes, i)) / (node - np.delete(nodes, i))) for i, node in enumerate(nodes)]
    return tuple(float(weight) for weight in weights)
