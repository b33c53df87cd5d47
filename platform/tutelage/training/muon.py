"""Muon: the update of a weight matrix is its orthogonalised momentum, so all directions are learnt at the same rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_MOMENTUM, _RMS_OF_ADAMW = 0.95, 0.2


class Muon(torch.optim.Optimizer):
    """Jordan's optimiser (2024) for matrices and convolution kernels; a kernel is a matrix `[out, in · height · width]`.

    W ← W - lr · (0.2 · √max(rows, columns) · orthogonal(momentum) + weight_decay · W), with a Nesterov momentum of 0.95. The
    factor makes updates as large as AdamW's (Liu et al., 2025), so that both use one learning rate. Groups with `adamw: True`
    (biases, norms, the first and the last layer) are updated by AdamW.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "adamw": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            take = self._adamw_step if group["adamw"] else self._orthogonal_step
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    take(weight, weight.grad, group["lr"])

    def _orthogonal_step(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        direction = gradient.lerp(momentum, _MOMENTUM).flatten(1)
        scale = _RMS_OF_ADAMW * max(direction.shape) ** 0.5
        weight.add_(orthogonal(direction).view_as(weight), alpha=-rate * scale)

    def _adamw_step(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state.update(steps=torch.zeros(()), first=torch.zeros_like(gradient), second=torch.zeros_like(gradient))
        state["steps"] += 1
        first = state["first"].lerp_(gradient, 0.1)
        second = state["second"].lerp_(gradient.square(), 0.001)
        steps = int(state["steps"])
        spread = (second / (1 - 0.999**steps)).sqrt_().add_(1e-8)
        weight.addcdiv_(first, spread, value=-rate / (1 - 0.9**steps))


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return a matrix with the same singular vectors and all singular values near 1 (between about 0.7 and 1.2).

    Newton–Schulz iteration with Jordan's quintic (2024).
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    found: Tensor = matrix.T if is_tall else matrix
    found = found / (found.norm() + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(steps):
        gram = found @ found.T
        found = a * found + (b * gram + c * gram @ gram) @ found
    return found.T if is_tall else found
