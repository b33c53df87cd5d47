"""The size and the multiply–accumulates of a network."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tutelage.networks.blank import blank_arguments
from tutelage.signature import Signature


def size(model: nn.Module) -> dict[str, float]:
    """Return `params`, `nonzero_params` and `size_bytes`.

    `params` counts trainable parameters, and `nonzero_params` those of them that are not exactly 0; it is missing on the meta
    device. `size_bytes` sums all parameters and buffers, each in its own precision.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    stored = model.state_dict().values()
    sizes = {
        "params": float(sum(p.numel() for p in parameters)),
        "size_bytes": float(sum(t.numel() * t.element_size() for t in stored)),
    }
    if not any(p.is_meta for p in parameters):
        sizes["nonzero_params"] = float(sum(int(p.count_nonzero()) for p in parameters))
    return sizes


def macs(model: nn.Module, signature: Signature) -> dict[str, float]:
    """Return `macs`, the multiply–accumulates of matrix products and convolutions for one example of typical length.

    This works on the meta device too. As usual, element-wise operations, norms and pooling are not counted.
    """
    parameter = next(model.parameters())
    was_training = model.training
    model.eval()
    in_products = sdpa_kernel(SDPBackend.MATH)  # a fused attention kernel hides its products from the counter
    with torch.no_grad(), in_products, FlopCounterMode(display=False) as counter:
        model(*blank_arguments(signature, 1, parameter.device))
    model.train(was_training)
    return {"macs": float(counter.get_total_flops() / 2)}
