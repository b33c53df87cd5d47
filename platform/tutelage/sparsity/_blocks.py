"""Residual blocks: the weights of a block as one group, and the replacement of a block by an identity."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.networks import forward
from tutelage.sparsity._coupled import CoupledGroup, Slice


def block_terms(model: nn.Module, arguments: tuple[Tensor, ...]) -> dict[str, CoupledGroup]:
    """Return each residual block, by name, as a group of width 1.

    A residual block is a module that returns its input if its weights are zero; of nested ones, the innermost are returned. A
    module that normalises the sum, as `nn.TransformerEncoderLayer` does by default, or that changes the shape is none.
    """
    inputs = _inputs(model, arguments)
    found = [name for name, given in inputs.items() if _is_residual(model.get_submodule(name), given)]
    inner = [name for name in found if not any(other.startswith(f"{name}.") for other in found)]
    return {name: _group(model.get_submodule(name), name) for name in inner}


def _group(block: nn.Module, name: str) -> CoupledGroup:
    def part(parameter: str, weight: Tensor) -> Slice:
        index = torch.arange(len(weight))
        channel = torch.zeros(len(weight), dtype=torch.long)
        return Slice(parameter=f"{name}.{parameter}", axis=0, index=index, channel=channel, is_output=False)

    return CoupledGroup(width=1, slices=tuple(part(parameter, weight) for parameter, weight in block.named_parameters()))


def _inputs(model: nn.Module, arguments: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return the input of each module with weights that is called once, with one tensor, and returns one of the same shape."""
    names = {module: name for name, module in model.named_modules() if name}
    seen, counts = dict[str, Tensor](), dict[str, int]()

    def keep(module: nn.Module, given: tuple[Tensor, ...], keywords: dict[str, object], output: object) -> None:
        name = names[module]
        counts[name] = counts.get(name, 0) + 1
        is_one = len(given) == 1 and not keywords and isinstance(given[0], Tensor) and isinstance(output, Tensor)
        if is_one and isinstance(output, Tensor) and output.shape == given[0].shape:
            seen[name] = given[0].detach().clone()

    hooks = [one.register_forward_hook(keep, with_kwargs=True) for one in names if _has_weights(one)]
    try:
        forward.run(model, arguments)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: given for name, given in seen.items() if counts[name] == 1}


def _has_weights(module: nn.Module) -> bool:
    found = list(module.parameters())
    return bool(found) and all(one.ndim for one in found)


def _is_residual(block: nn.Module, given: Tensor) -> bool:
    zero = copy.deepcopy(block).eval()
    with torch.no_grad():
        for weight in zero.parameters():
            weight.zero_()
        output = zero(given)
    return isinstance(output, Tensor) and torch.equal(output, given)


def remove_blocks(model: nn.Module, names: list[str]) -> nn.Module:
    """Return `model` with an identity in place of each of these blocks. Raises `InputError` for an unknown name."""
    for name in names:
        try:
            model.get_submodule(name)
        except AttributeError:
            raise InputError(f"sparsity.method spr: the network has no block '{name}'.") from None
        model.set_submodule(name, nn.Identity())
    return model
