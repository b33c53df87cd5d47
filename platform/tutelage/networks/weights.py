"""The weights of a network by name: read from it, and loaded into a network of the same architecture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from tutelage.errors import InputError

_SHOWN = 4
_SIZES: dict[type[nn.Module], dict[str, tuple[str, int]]] = {  # attribute of a layer → the tensor and axis whose size it states
    nn.Linear: {"in_features": ("weight", 1), "out_features": ("weight", 0)},
    nn.Embedding: {"num_embeddings": ("weight", 0), "embedding_dim": ("weight", 1)},
    nn.PReLU: {"num_parameters": ("weight", 0)},
    nn.GroupNorm: {"num_channels": ("weight", 0)},
    nn.RNNBase: {"input_size": ("weight_ih_l0", 1), "hidden_size": ("weight_hh_l0", 1)},
}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the network's parameters and buffers on the CPU, contiguous and detached; a shared tensor has its first name only.

    Raises `InputError` for a layer whose state is more than tensors.
    """
    own, shared = _state(model), shared_names(model)
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in own.items() if name not in shared}
    storages = {name: tensor.untyped_storage().data_ptr() for name, tensor in kept.items()}
    uses = Counter(storages.values())
    return {name: tensor.clone() if uses[storages[name]] > 1 else tensor for name, tensor in kept.items()}


def shared_names(model: nn.Module) -> dict[str, str]:
    """Return every further name of a shared parameter or buffer, with the tensor's first name."""
    own = _state(model)
    first = {id(own[name]): name for name in reversed(own)}
    return {name: first[id(tensor)] for name, tensor in own.items() if first[id(tensor)] != name}


def _state(model: nn.Module) -> dict[str, Tensor]:
    state = dict(model.state_dict(keep_vars=True))
    if others := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(f"the network's state has more than tensors: {', '.join(others[:_SHOWN])}. Keep it in buffers.")
    return state


def load(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return `model` with `weights`, its layers resized to them, so that a network can load weights with channels removed.

    Tensors that are shared in `model` stay shared, unless `weights` has different values for their names. Raises `InputError`
    if names differ, or if a tensor has another type or number of axes.
    """
    own, sources = _state(model), _sources(model, weights)
    if odd := (set(own) - set(sources)) | (set(weights) - set(own)):
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise InputError(f"weights do not fit the architecture: only one of them has {', '.join(sorted(odd)[:_SHOWN])}{more}.")
    loaded = {name: _fitting(name, weights[name], own[name]) for name in set(sources.values())}
    for path, module in model.named_modules():
        for name in [*module._parameters, *module._buffers]:
            if (source := sources.get(f"{path}.{name}" if path else name)) is not None:
                setattr(module, name, loaded[source])  # not into the mappings: recurrent layers keep a list of their own
        _resize(module)
    return model


def _sources(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for each name of a tensor of `model` the name of the tensor in `weights` that it gets; without those it lacks."""
    shared, groups = shared_names(model), dict[str, list[str]]()
    for name in _state(model):
        groups.setdefault(shared.get(name, name), []).append(name)
    sources: dict[str, str] = {}
    for names in groups.values():
        given = [name for name in names if name in weights]
        are_equal = all(torch.equal(weights[given[0]], weights[name]) for name in given[1:])
        sources |= {name: name if name in given and not are_equal else given[0] for name in names if given}
    return sources


def _fitting(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """Return a tensor of the network's type, kind and device from a file's."""
    found = f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.")
    wanted = f"{own.dtype} {tuple(own.shape)}".removeprefix("torch.")
    is_plain = tensor.layout == torch.strided and not tensor.is_quantized
    if not is_plain or tensor.ndim != own.ndim or tensor.is_floating_point() != own.is_floating_point():
        kind = "" if is_plain else f" with the layout {tensor.layout}".replace("torch.", "")
        raise InputError(f"weights do not fit the architecture: {name} is {found}{kind}, the network has {wanted}.")
    copied = tensor.to(tensor.device if own.is_meta else own.device, own.dtype, copy=True)
    return nn.Parameter(copied, requires_grad=own.requires_grad) if isinstance(own, nn.Parameter) else copied


def _resize(module: nn.Module) -> None:
    """Set the attributes of a layer that state its sizes to those of its weights."""
    for kind, sizes in _SIZES.items():
        if isinstance(module, kind):
            for attribute, (name, axis) in sizes.items():
                if isinstance(tensor := getattr(module, name, None), Tensor):
                    setattr(module, attribute, tensor.shape[axis])
    if isinstance(module, _NormBase):  # batch and instance norm
        tensor = module.running_mean if module.running_mean is not None else module.weight
        module.num_features = module.num_features if tensor is None else tensor.shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.MultiheadAttention):
        module.embed_dim = module.out_proj.weight.shape[0]
        module.head_dim = module.embed_dim // module.num_heads
    elif isinstance(module, _ConvNd):
        _resize_convolution(module)


def _resize_convolution(module: Any) -> None:
    is_depthwise = module.groups == module.in_channels > 1
    first, second = module.weight.shape[:2]
    if isinstance(module, _ConvTransposeNd):
        module.groups = first if is_depthwise else module.groups
        module.in_channels, module.out_channels = first, second * module.groups
        return
    multiple = max(1, module.out_channels // module.in_channels) if is_depthwise else 1
    module.groups = first // multiple if is_depthwise else module.groups
    module.in_channels, module.out_channels = second * module.groups, first
