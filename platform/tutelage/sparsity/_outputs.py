"""The layers whose outputs are a network's outputs, which no sparsity method makes narrower."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from tutelage.networks import forward


def output_layers(model: nn.Module, arguments: tuple[Tensor, ...]) -> set[nn.Module]:
    """Return the layers whose outputs are the network's outputs, or views of them; the layer that is called last if none is."""
    made: list[tuple[nn.Module, Any]] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | _ConvNd)]
    hooks = [layer.register_forward_hook(lambda layer, _, output: made.append((layer, output))) for layer in layers]
    try:
        found = [value for value in tree_leaves(forward.run(model, arguments)) if isinstance(value, Tensor)]
    finally:
        for hook in hooks:
            hook.remove()
    originals = {id(tensor if tensor._base is None else tensor._base) for tensor in found}
    named = {layer for layer, output in made if id(output) in originals or id(output._base) in originals}
    return named or {layer for layer, _ in made[-1:]}
