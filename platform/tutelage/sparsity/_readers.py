"""The layers that read the hidden units of another layer, and the columns: found by running the network.

Units are set to zero, and the inputs of all other layers are compared. A column that is zero exactly when one unit is zero
belongs to that unit: it can be removed with it, and nothing changes. So any code between the layers may select, join,
reorder, mask or average; code that adds other values to the units or needs their number is reported instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._pytree import tree_leaves

from tutelage.errors import InputError
from tutelage.networks import forward

Fill = Callable[[Any, Tensor], Any]
AXES: tuple[tuple[type[nn.Module], int], ...] = ((nn.Linear, -1), (nn.RNNBase, -1), (_BatchNorm, 1), (_ConvNd, 1))

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)

WAY_OUT = "Take another sparsity method, such as low_rank or magnitude, which keep all widths, or set sparsity.amount: 0."


class Unremovable(InputError):
    """The reason why the units of a layer cannot be removed; the text follows the layer's name."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A layer that reads units: `units` `[columns]` holds the number of the unit at each input column, -1 for other values."""

    name: str
    layer: nn.Module
    units: Tensor


def readers(model: nn.Module, arguments: tuple[Tensor, ...], layer: nn.Module, num_units: int, fill: Fill) -> list[Reader]:
    """Return the layers that read the units of `layer`, in the order of their calls.

    `fill(output, alive)` returns an output like `output` in which exactly the units that `alive` `[num_units]` marks differ
    from zero. Takes two runs of the network for each binary digit of `num_units`. Raises `Unremovable`.
    """
    run = _Runs(model, arguments, layer, fill)
    every = torch.arange(num_units)
    whole = run(torch.ones(num_units, dtype=torch.bool), None)
    if all(module is not layer for module, _ in whole.calls):
        raise Unremovable("is never called")
    bits = range(max(1, (num_units - 1).bit_length()))
    halves = [(run((every >> bit) & 1 == 0, whole), run((every >> bit) & 1 == 1, whole)) for bit in bits]
    if any(not _equal(one.results, whole.results) for pair in halves for one in pair):
        raise Unremovable("is read by the network's outputs or by code that is no layer")
    names = {module: name for name, module in model.named_modules()}
    found: dict[nn.Module, Reader] = {}
    for number, (module, tensors) in enumerate(whole.calls):
        pairs = [(low.calls[number][1], high.calls[number][1]) for low, high in halves]
        if all(_equal(tensors, one) for pair in pairs for one in pair):
            units = None
        else:
            units = _units(names[module], module, tensors, pairs)
        if (units is not None or module in found) and not _agree(found.get(module), units, number, whole.calls):
            raise Unremovable(f"is read by '{names[module]}', which is also called with other values")
        if units is not None:
            found[module] = Reader(name=names[module], layer=module, units=units)
    return list(found.values())


def axis_of(layer: nn.Module) -> int:
    """Return the axis of a reader's inputs along which the units lie. Raises `Unremovable` for a layer that is no reader."""
    for kind, axis in AXES:
        if isinstance(layer, kind) and getattr(layer, "groups", 1) == 1 and not isinstance(layer, _ConvTransposeNd):
            return axis
    why = "whose mean and variance would change" if isinstance(layer, NORMS) else "whose inputs cannot be made narrower"
    raise Unremovable(f"is read by a {type(layer).__name__}, {why}")


@dataclass(frozen=True, kw_only=True)
class _Run:
    calls: list[tuple[nn.Module, list[Tensor]]]
    outputs: list[Any]
    results: list[Tensor]


class _Runs:
    """Runs of a network in which the units of `layer` have given values, and layers after a reader get unchanged inputs."""

    def __init__(self, model: nn.Module, arguments: tuple[Tensor, ...], layer: nn.Module, fill: Fill) -> None:
        self._model, self._arguments, self._layer, self._fill = model, arguments, layer, fill
        self._leaves = [one for one in model.modules() if _is_leaf(one)]

    def __call__(self, alive: Tensor, whole: _Run | None) -> _Run:
        calls: list[tuple[nn.Module, list[Tensor]]] = []
        outputs: list[Any] = []

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            calls.append((module, [one.clone() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]))

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            number = len(outputs)
            is_other = whole is not None and (number >= len(whole.calls) or whole.calls[number][0] is not module)
            if is_other:
                raise Unremovable("has values that determine which layers are called")
            outputs.append(output)
            if module is self._layer:
                return self._fill(output, alive)
            if isinstance(module, _BatchNorm):
                return args[0]  # a batch norm reads the units and passes them on
            return output if whole is None else whole.outputs[number]

        hooks = [one.register_forward_pre_hook(before, with_kwargs=True) for one in self._leaves]
        hooks += [one.register_forward_hook(after) for one in self._leaves]
        try:
            results = [one for one in tree_leaves(forward.run(self._model, self._arguments)) if isinstance(one, Tensor)]
        finally:
            for hook in hooks:
                hook.remove()
        return _Run(calls=calls, outputs=outputs, results=results)


def _is_leaf(module: nn.Module) -> bool:
    has_weights = next(module.parameters(recurse=False), None) is not None
    return has_weights and (isinstance(module, nn.MultiheadAttention) or next(module.children(), None) is None)


def _equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _units(name: str, module: nn.Module, whole: list[Tensor], pairs: list[tuple[list[Tensor], list[Tensor]]]) -> Tensor:
    """Return the unit of each input column of a reader, from its inputs with all units (`whole`) and with halves (`pairs`)."""
    axis = axis_of(module)
    if not all(_equal(whole[1:], one[1:]) for pair in pairs for one in pair):
        raise Unremovable(f"is the initial state of '{name}'")
    base = _zero_columns(whole[0], axis)
    is_own = torch.stack([_same_columns(whole[0], one[0], axis) for pair in pairs for one in pair]).all(dim=0)
    low, high = (torch.stack([_zero_columns(pair[side][0], axis) for pair in pairs]) for side in (0, 1))
    is_unit = ~base & (low ^ high).all(dim=0)
    if not (is_own | is_unit).all():
        raise Unremovable(f"is read by '{name}' together with other values, or after a function that is not 0 at 0")
    weights = 1 << torch.arange(len(pairs))
    return torch.where(is_own, -1, (low.long() * weights[:, None]).sum(dim=0))


def _zero_columns(tensor: Tensor, axis: int) -> Tensor:
    return (tensor.movedim(axis, -1).flatten(0, -2) == 0).all(dim=0).cpu()


def _same_columns(left: Tensor, right: Tensor, axis: int) -> Tensor:
    return (left.movedim(axis, -1).flatten(0, -2) == right.movedim(axis, -1).flatten(0, -2)).all(dim=0).cpu()


def _agree(found: Reader | None, units: Tensor | None, number: int, calls: list[tuple[nn.Module, list[Tensor]]]) -> bool:
    """Return whether every call of a layer so far had the same units at the same columns."""
    if found is not None:
        return units is not None and torch.equal(found.units, units)
    return all(module is not calls[number][0] for module, _ in calls[:number])
