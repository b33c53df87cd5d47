"""Label sequences as classes drawn from a teacher's distribution: a sparse and unbiased form of soft targets.

The mean of -log q over n classes drawn from p is an unbiased estimate of the cross-entropy of p and q, and its gradient one of
the gradient, for every n (RS-KD; Anshumann et al., 2025). The largest classes alone (`networks.top_k`) are biased where the
others are left out. The classes are drawn at temperature 1. A step with n classes needs n bytes for up to 256 classes.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor


def drawn(logits: Tensor, count: int, seed: tuple[int, ...]) -> Tensor:
    """Return `count` classes of each step, int64 `[…, count]`, drawn with replacement by logits `[…, classes]`.

    Equal seeds give equal classes. Steps whose logits are not finite, which can only be padding, have any classes.
    """
    shares = logits.float().softmax(dim=-1)
    shares = shares.where(shares.isfinite().all(dim=-1, keepdim=True), 1.0)
    generator = torch.Generator().manual_seed(reduce(lambda sum_, one: (sum_ * 1_000_003 + one) % 2**63, seed, 0))
    flat: Tensor = torch.multinomial(shares.flatten(0, -2).cpu(), count, replacement=True, generator=generator)
    return flat.view(*logits.shape[:-1], count)


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean of -log softmax over all drawn `classes` `[…, count]` of logits `[…, all classes]`, a scalar."""
    return -logits.log_softmax(dim=-1).gather(-1, classes).mean()
