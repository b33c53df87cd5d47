"""A trained network on disk: `model.safetensors` and `architecture.json`. Reading them runs no code that only they name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.files import write_atomically, write_json
from tutelage.networks.trust import PACKAGE_ONLY, check_code
from tutelage.signature import signature_of

WEIGHTS, ARCHITECTURE = "model.safetensors", "architecture.json"

_SIZED = {  # attribute of a module → (the tensor and its axis whose size the attribute states)
    nn.Linear: {"in_features": ("weight", 1), "out_features": ("weight", 0)},
    nn.Conv2d: {"out_channels": ("weight", 0)},
    nn.BatchNorm2d: {"num_features": ("running_mean", 0)},
    nn.BatchNorm1d: {"num_features": ("running_mean", 0)},
}


class Wrapper(nn.Module):
    """A network around another one, `network`, whose stages and weights count as its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def innermost(model: nn.Module) -> nn.Module:
    """Return the innermost network of nested wrappers, or `model` itself if it is not a wrapper."""
    return innermost(model.network) if isinstance(model, Wrapper) else model


class ChosenClasses(Wrapper):
    """A network whose outputs are a selection of another network's classes, in a given order."""

    def __init__(self, network: nn.Module, columns: Sequence[int]) -> None:
        super().__init__(network)
        self.columns = list(columns)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits of the chosen classes, `[batch, columns]`."""
        logits: Tensor = self.network(*inputs)
        return logits[..., self.columns]


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of an `architecture` with the keys `model` and `signature`.

    With the key `columns`, the network has the classes `of` and outputs only the columns `taken`. With `surgeries`, the changes
    of a sparsity method are replayed in order.
    """
    _, plugin, config = plugins.configure("models", architecture["model"])
    signature, columns = signature_of(architecture["signature"]), architecture.get("columns")
    if columns:
        signature = signature.with_class_names(tuple(columns["of"]))
    model: nn.Module = plugin.build(config, signature)
    for one in architecture.get("surgeries", ()):
        _, sparsity, options = plugins.configure("sparsity", one["method"])
        model = sparsity.build(options, one["amount"]).replay(model, one["surgery"])
    return ChosenClasses(model, columns["taken"]) if columns else model


def seeded(architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """Return the untrained network of `architecture`; its initial weights depend only on `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(architecture)


def adopt(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return `model` with `weights` and with its layers resized to them, so that a dense network can load pruned weights.

    This supports linear, (grouped) convolutional and batch-norm layers. Raises `InputError` if the names differ.
    """
    own = model.state_dict()
    if odd := set(own) ^ set(weights):
        raise InputError(f"weights do not fit the architecture: only one of them has {', '.join(sorted(odd)[:4])}.")
    for path, module in model.named_modules():
        is_depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        for name in [*module._parameters, *module._buffers]:
            tensor = weights.get(f"{path}.{name}" if path else name)
            if tensor is not None:
                _replace(module, name, tensor)
        for attribute, (name, axis) in _SIZED.get(type(module), {}).items():
            setattr(module, attribute, getattr(module, name).shape[axis])
        if isinstance(module, nn.Conv2d):
            module.groups = module.out_channels if is_depthwise else module.groups
            module.in_channels = module.weight.shape[1] * module.groups
    return model


def _replace(module: nn.Module, name: str, tensor: Tensor) -> None:
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor.clone())
    else:
        module._buffers[name] = tensor.clone()


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the network's parameters and buffers on the CPU, contiguous and detached."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def write(directory: Path, model: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Write `model` into `directory`. The architecture is written last: if it exists, the directory is complete."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / WEIGHTS, save(weights_of(model)))
    write_json(directory / ARCHITECTURE, dict(architecture))


def read_architecture(directory: Path) -> dict[str, Any]:
    """Return the architecture of the network in `directory`. Raises `InputError` if it is not readable or not complete."""
    path = directory / ARCHITECTURE
    try:
        architecture = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(directory, error) from error
    if not isinstance(architecture, dict):
        raise InputError(f"{path}: holds a {type(architecture).__name__}, and must hold a mapping with model and signature.")
    if missing := {"model", "signature"} - set(architecture):
        raise InputError(f"{path}: lacks {', '.join(sorted(missing))}.")
    try:
        signature_of(architecture["signature"])
        methods = [one["method"] for one in architecture.get("surgeries", ())]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: holds no readable signature or surgeries ({error!r}).") from None
    for reference in (architecture["model"], *methods):
        plugins.parse_reference(reference)
    return architecture


def _unreadable(directory: Path, error: Exception) -> InputError:
    return InputError(
        f"{directory}: not a readable network ({error}). "
        f"It must hold {WEIGHTS} and {ARCHITECTURE}, as `tutelage export` writes them."
    )


def read_weights(directory: Path) -> dict[str, Tensor]:
    """Return the weights of the network in `directory` by name. Raises `InputError` if they are not readable."""
    try:
        return load_file(directory / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{directory / WEIGHTS} is not readable: {error}") from error


def read(directory: Path, trusted: Collection[str] = PACKAGE_ONLY) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network in `directory`, in evaluation mode, and its architecture.

    Of the code that the architecture names, only the package's and that of the `trusted` `module:Name`s is run. Raises
    `InputError` for other code, and for files that are not readable.
    """
    architecture = read_architecture(directory)
    check_code(directory / ARCHITECTURE, architecture, trusted)
    try:
        weights = load_file(directory / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(directory, error) from error
    with torch.device("meta"):
        model = build(architecture)
    return adopt(model, weights).eval(), architecture
