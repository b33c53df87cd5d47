"""Recalibration of batch norms: after a removal of channels, the running means and variances do not fit the inputs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

RECALIBRATION_BATCHES = 32


def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Set the running means and variances of all batch norms to their averages over `batches`, in place.

    The network's other state and its mode are unchanged. Without batches or batch norms, nothing changes.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    rows = list(batches) if norms else []
    if not rows:
        return
    was_training, momenta = [module.training for module in model.modules()], [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches, each with the same weight
    model.eval()
    for norm in norms:
        norm.train()
    with torch.no_grad():
        for arguments in rows:
            model(*arguments)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in zip(model.modules(), was_training, strict=True):
        module.training = mode
