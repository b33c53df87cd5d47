"""Two networks compared layer by layer, to name the layer in which they begin to differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tutelage.networks import forward
from tutelage.networks.checkpoint import Wrapper
from tutelage.tasks import by_sequence

SUMS = 1e-4  # of the largest logit: what another order of floating-point sums may change
SAME = 1e-6  # what the same sums may differ by


def logits_of(model: nn.Module, arguments: Sequence[Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the logits of a network in evaluation mode, by label sequence. Raises `InputError` as `forward.run` does."""
    return by_sequence(forward.run(model, arguments), names)


def are_close(first: Mapping[str, Tensor], second: Mapping[str, Tensor], tolerance: float = SAME) -> bool:
    """Return whether logits are the same up to `tolerance`, a share of the largest one."""
    return all(_close(first[name], second[name], tolerance) for name in first)


def _close(first: Any, second: Any, tolerance: float = SAME) -> bool:
    if not isinstance(first, Tensor) or first.shape != second.shape:
        return isinstance(first, Tensor) is isinstance(second, Tensor) and not isinstance(first, Tensor)
    if not first.is_floating_point():
        return torch.equal(first, second)
    scale = max(1.0, float(first.abs().max())) if first.numel() else 1.0
    return torch.allclose(first, second, rtol=0.0, atol=tolerance * scale, equal_nan=True)


def first_difference(first: nn.Module, second: nn.Module, arguments: Sequence[Tensor]) -> str:
    """Return in words the layer that is the first to have other outputs in the `second` network; "the network" if none is."""
    seen, others = _outputs(first, arguments), _outputs(second, arguments)
    for (name, output), (_, other) in zip(seen, others, strict=False):
        if not all(map(_close, tree_leaves(output), tree_leaves(other))):
            layer = first.get_submodule(name)
            return f"layer '{name}' ({type(layer).__name__})" if name else "the network"
    return "the network"


def _outputs(model: nn.Module, arguments: Sequence[Tensor]) -> list[tuple[str, Any]]:
    """Return the output of every layer by name, in the order in which the layers end."""
    seen: list[tuple[str, Any]] = []

    def hook(name: str) -> Any:
        return lambda _module, _inputs, output: seen.append((name, output))

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in model.named_modules()]
    try:
        forward.run(model, arguments)
    finally:
        for one in hooks:
            one.remove()
    return seen


def unsaved_tensors(model: nn.Module) -> list[str]:
    """Return the names of tensors that `model` holds and does not save: unsaved buffers, and tensors as plain attributes."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, Wrapper):
            continue
        names = [name for name in module._buffers if name in module._non_persistent_buffers_set]
        names += [name for name, value in vars(module).items() if isinstance(value, Tensor)]
        found += [f"{path}.{name}" if path else name for name in names]
    return found
