"""A device that no machine needs to have: its tensors are computed on the CPU, and may meet no tensor of the CPU.

What fails on a GPU, because two tensors are on different devices or NumPy reads a tensor that is not on the CPU, fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("lazy", 0)  # torch knows the name, and runs the backward pass of its tensors in the calling thread
aten = torch.ops.aten
_MOVES = (aten._to_copy.default, aten.copy_.default)
_LENGTHS_ON_EITHER = (aten._ctc_loss.Tensor, aten._ctc_loss_backward.Tensor)


class There(Tensor):
    """A tensor of the other device; `here` has its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=DEVICE
        )

    def __init__(self, here: Tensor) -> None:
        self.here = here

    __torch_function__ = torch._C._disabled_torch_function_impl

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        return _tensor(data, **{"dtype": self.dtype, "device": DEVICE, **options})

    def tolist(self) -> Any:
        return self.here.tolist()

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_places(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_places(index), value)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Device(TorchDispatchMode):
    """Makes new tensors on the other device where code asks for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def available() -> Iterator[torch.device]:
    """Yield the device, on which tensors and networks can be within the block."""
    with (
        _Device(),
        patch.object(torch, "autocast", lambda *_, **__: nullcontext()),
        patch.object(torch, "tensor", _tensor),  # torch makes its memory before the mode sees it
        patch.object(torch._VF, "gru", _steps_first(torch._VF.gru)),
        patch.object(torch._VF, "lstm", _steps_first(torch._VF.lstm)),
    ):
        yield DEVICE


def _steps_first(layer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a recurrent layer's function without `batch_first`, for which torch transposes its output in place."""

    def called(inputs: Tensor, *others: Any) -> Any:
        *arguments, is_batch_first = others
        if not is_batch_first:
            return layer(inputs, *others)
        outputs, *states = layer(inputs.transpose(0, 1), *arguments, False)
        return (outputs.transpose(0, 1), *states)

    return called


_made = torch.tensor


def _places(index: Any) -> Any:
    """Return an index with a tensor in place of each list, which torch would make a tensor of in the device's own memory."""
    if isinstance(index, tuple):
        return tuple(map(_places, index))
    return _made(index) if isinstance(index, list) else index


def _tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    made = _made(data, device="cpu", **options)
    return made if device is None else made.to(device)


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    wanted = kwargs.get("device")
    leaves = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    away = [one for one in leaves if isinstance(one, There)]
    if not away and (wanted is None or torch.device(wanted).type != DEVICE.type):
        return func(*args, **kwargs)
    if torch.is_inference_mode_enabled() and func._can_decompose():
        with _Device():
            return func.decompose(*args, **kwargs)
    is_there = torch.device(wanted).type == DEVICE.type if wanted is not None else bool(away)
    if func not in _MOVES:
        _check(func, args, kwargs, leaves, is_there=is_there)
    by_id = {id(one.here): one for one in away}
    changed = {**kwargs, **({"device": torch.device("cpu")} if wanted is not None else {})}
    if func is aten._fused_sdp_choice.default:
        return 0  # the plain form of attention, not that of CPUs
    found = func(*tree_map(_here, list(args)), **tree_map(_here, changed))
    return tree_map(lambda one: _there(one, by_id) if is_there or id(one) in by_id else one, found)


def _here(one: Any) -> Any:
    return one.here if isinstance(one, There) else one


def _there(one: Any, by_id: Mapping[int, There]) -> Any:
    if not isinstance(one, Tensor):
        return one
    return by_id[id(one)] if id(one) in by_id else There(one)


def _check(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], leaves: Sequence[Tensor], *, is_there: bool) -> None:
    """Raise `RuntimeError` for tensors of both devices, but where torch takes those of the CPU: single numbers and indices."""
    generator = kwargs.get("generator")
    if is_there and generator is not None and generator.device.type != DEVICE.type:
        raise RuntimeError(f"{func}: a generator of {generator.device} for a tensor on {DEVICE}")
    if func is aten._pack_padded_sequence.default:
        assert not isinstance(args[1], There), "lengths must be on the CPU"
        return
    compared = leaves
    if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default) and isinstance(args[0], There):
        compared = [one for one in (args[0], *args[2:3]) if isinstance(one, Tensor)]
    if func in _LENGTHS_ON_EITHER:
        compared = [one for one in compared if one.dtype != torch.int64]
    is_in_place = func._schema.name.endswith("_") and args and isinstance(args[0], Tensor)
    for one in compared:
        if not isinstance(one, There) and (one.ndim > 0 or (is_in_place and one is args[0])):
            raise RuntimeError(
                f"{func}: tensors on {DEVICE} and on the CPU {[(type(a).__name__, tuple(a.shape)) for a in leaves]}"
            )
