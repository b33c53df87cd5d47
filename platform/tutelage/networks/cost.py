"""The size and the multiply–accumulates of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tutelage.networks import forward, process_state
from tutelage.networks.blank import blank_arguments
from tutelage.signature import Signature


def size(model: nn.Module) -> dict[str, float]:
    """Return `params`, `nonzero_params` and `size_bytes`.

    `params` counts trainable parameters, and `nonzero_params` those of them that are not exactly 0; it is missing on the meta
    device. `size_bytes` sums all parameters and buffers, each in its own precision.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    stored = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}.values()
    sizes = {
        "params": float(sum(p.numel() for p in parameters)),
        "size_bytes": float(sum(t.numel() * t.element_size() for t in stored)),
    }
    if not any(p.is_meta for p in parameters):
        sizes["nonzero_params"] = float(sum(int(p.count_nonzero()) for p in parameters))
    return sizes


def macs(model: nn.Module, signature: Signature) -> dict[str, float]:
    """Return `macs`, the multiply–accumulates of matrix products and convolutions for one example of typical length.

    They are the same on every device. As usual, element-wise operations, norms and pooling are not counted.
    """
    return {"macs": macs_for(model, blank_arguments(signature, 1, next(model.parameters()).device))}


def macs_for(model: nn.Module, arguments: tuple[Tensor, ...]) -> float:
    """Return the multiply–accumulates of one call of a network, counted as in `macs`.

    A network that computes outside of torch has a method `macs_for(arguments)`, which counts its own.
    """
    own: list[Any] = [module for module in model.modules() if hasattr(module, "macs_for")]
    outside = sum(module.macs_for(arguments) for module in own)
    with _unfused(), FlopCounterMode(display=False) as counter:
        forward.run(model, arguments)
    return float(counter.get_total_flops() / 2 + outside)


@contextmanager
def _unfused() -> Iterator[None]:
    """Turn off kernels that compute several products at once within a block, because they hide these from the counter."""
    with process_state.preserved(), sdpa_kernel(SDPBackend.MATH):
        torch.backends.mha.set_fastpath_enabled(False)  # of transformer layers
        torch._C._set_mkldnn_enabled(False)  # of recurrent layers on CPUs, and below on GPUs
        torch.backends.cudnn.enabled = False
        yield
