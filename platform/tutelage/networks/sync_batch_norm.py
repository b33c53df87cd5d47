"""Batch normalisation over the batches of all workers. Unlike torch's, it works on CPUs too."""

from __future__ import annotations

import torch
import torch.distributed.nn.functional as shared
from torch import Tensor, nn
from torch.distributed import get_world_size


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm1d` or `2d` with mean and variance over the shares of all workers, which are of equal size.

    Moments and their gradients are summed over the workers (Ioffe and Szegedy, 2015, over the global batch).
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normalised inputs `[batch, channels, …]`."""
        if not self.training:
            return super().forward(inputs)
        axes = [0, *range(2, inputs.ndim)]
        moments = torch.stack([inputs.mean(axes), inputs.square().mean(axes)])
        mean, square = shared.all_reduce(moments) / get_world_size()
        variance = (square - mean.square()).clamp(min=0.0)
        self._update_running_moments(mean.detach(), variance.detach(), inputs.numel() // inputs.shape[1] * get_world_size())
        shape = (1, -1) + (1,) * (inputs.ndim - 2)
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised: Tensor = inputs * scale.view(shape) + (self.bias - mean * scale).view(shape)
        return normalised

    def _check_input_dim(self, inputs: Tensor) -> None:
        assert inputs.ndim in (2, 3, 4)

    @torch.no_grad()
    def _update_running_moments(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), momentum)
        self.num_batches_tracked += 1


def share(model: nn.Module) -> nn.Module:
    """Replace every batch normalisation of `model` by a `SharedBatchNorm` with the same state; return the model."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            norm = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(model, name, norm)
        else:
            share(child)
    return model
