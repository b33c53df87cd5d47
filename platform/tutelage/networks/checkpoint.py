"""A trained network on disk: `model.safetensors` and `architecture.json`. Reading them runs no code that only they name."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tutelage import foreign, initial_weights, plugins
from tutelage.errors import InputError, TutelageError
from tutelage.files import write_atomically, write_json
from tutelage.networks import forward, process_state
from tutelage.networks.adapted_inputs import adapt, needs_adapting
from tutelage.networks.blank import blank_arguments
from tutelage.networks.trust import PACKAGE_ONLY, check_code
from tutelage.networks.weights import load, shared_names, weights_of
from tutelage.signature import InputSpec, Signature, documents_of, input_spec_of, signature_of
from tutelage.tasks import by_sequence

WEIGHTS, ARCHITECTURE = "model.safetensors", "architecture.json"


class Wrapper(nn.Module):
    """A network around another one, `network`, whose stages and weights count as its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def innermost(model: nn.Module) -> nn.Module:
    """Return the innermost network of nested wrappers, or `model` itself if it is not a wrapper."""
    return innermost(model.network) if isinstance(model, Wrapper) else model


class ChosenClasses(Wrapper):
    """A network whose outputs are a selection of another network's classes, in a given order.

    `axes` are the axes of its tensors, by name, that have a row for each of its classes.
    """

    def __init__(self, network: nn.Module, columns: Sequence[int], axes: Mapping[str, Sequence[int]] | None = None) -> None:
        super().__init__(network)
        self.columns, self.axes = list(columns), dict(axes or {})

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits of the chosen classes, `[batch, columns]`."""
        logits: Tensor = self.network(*inputs)
        return logits[..., self.columns]

    def rows(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the network with the rows of the chosen classes alone, in their order."""
        for axis in self.axes.get(name, ()):
            tensor = tensor.index_select(axis, torch.tensor(self.columns, device=tensor.device))
        return tensor


def rows_of_classes(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of the innermost network with one row a class that `model` gives, where they have a row for each class."""
    found = rows_of_classes(model.network, tensors) if isinstance(model, Wrapper) else dict(tensors)
    return {name: model.rows(name, one) for name, one in found.items()} if isinstance(model, ChosenClasses) else found


_WRAPPED = (torch.jit.ScriptModule, nn.DataParallel, nn.parallel.DistributedDataParallel)
_VERSION = 2  # of an architecture's document
_MAX_RATIO = 1000  # of a network's bytes before anything was removed from it and those of its weights
_SMALL_BYTES = 2**26  # that any network may take


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of an `architecture` with the keys `model` and `signature`.

    With the key `columns`, the network has the classes `of`, in rows along the `axes`, and outputs only the columns `taken`.
    With `surgeries`, the changes of a sparsity method are replayed in order. With `taken`, a list of inputs, the network was
    made for these, and is called with those of the signature.
    """
    _, plugin, config = plugins.configure("models", architecture["model"])
    signature, columns = signature_of(architecture["signature"]), architecture.get("columns")
    given, taken = signature.inputs, tuple(input_spec_of(one) for one in architecture.get("taken", ()))
    signature = replace(signature, inputs=taken or given)
    if columns:
        signature = signature.with_class_names(tuple(columns["of"]))
    model = _built(plugin, architecture["model"], config, signature)
    for one in architecture.get("surgeries", ()):
        _, sparsity, options = plugins.configure("sparsity", one["method"])
        model = sparsity.build(options, one["amount"]).replay(model, one["surgery"])
    if taken:
        adapt(model, taken, given)
    return ChosenClasses(model, columns["taken"], columns.get("axes")) if columns else model


def _built(plugin: Any, reference: plugins.Reference, config: Any, signature: Signature) -> nn.Module:
    """Return the network that a model plugin builds, with lazy layers sized; whatever it raises becomes an `InputError`."""
    try:
        with forward.contained():
            model = plugin.build(config, signature)
    except TutelageError:
        raise
    except (Exception, SystemExit) as error:  # a user's plugin may raise anything
        raise InputError(f"model '{plugins.described(reference)}' cannot be built: {foreign.reason(error)}.") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model '{plugins.described(reference)}' is a {type(model).__name__}, not a torch.nn.Module.")
    if isinstance(model, _WRAPPED) or hasattr(model, "_orig_mod"):  # the last is torch.compile's
        raise InputError(
            f"model '{plugins.described(reference)}' is a {type(model).__name__}: a compiled, scripted or wrapped network. "
            "Return the plain module."
        )
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        forward.run(model, blank_arguments(signature, 2))
    if next(model.parameters(), None) is None:
        raise InputError(f"model '{plugins.described(reference)}' has no parameters; there is nothing to train.")
    return model


def for_inputs(
    model: nn.Module, architecture: dict[str, Any], given: Sequence[InputSpec]
) -> tuple[nn.Module, dict[str, Any]]:  # fmt: skip
    """Return the network, and its architecture, so that it is called with the inputs `given` and takes them in its own way.

    Its own are its normalisation and its columns of a table. Inputs of other kinds or sizes change nothing. Raises `InputError`
    for a column that is not `given`.
    """
    named = signature_of(architecture["signature"])
    taken = [input_spec_of(one) for one in architecture.get("taken", ())] or list(named.inputs)
    if not needs_adapting(named.inputs, given):
        return model, architecture
    signature = replace(named, inputs=tuple(given)).document()
    adapted = {**architecture, "taken": documents_of(taken), "signature": signature}
    with initial_weights.replaced():
        return load(seeded(adapted, 0), weights_of(model)).eval(), adapted


def seeded(architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """Return the untrained network of `architecture`; its initial weights depend only on `seed`."""
    with process_state.seeded(seed):
        return build(architecture)


def blank(architecture: Mapping[str, Any]) -> nn.Module:
    """Return the untrained network of `architecture` on the meta device, which needs no memory and no time.

    A network of a user's that cannot be built or run there, because its code reads numbers, is built on the CPU.
    """
    try:
        with torch.device("meta"):
            model = build(architecture)
        if ":" in plugins.parse_reference(architecture["model"])[0]:
            forward.run(model, blank_arguments(signature_of(architecture["signature"]), 2, "meta"))
    except InputError:
        return seeded(architecture, 0)
    return model


def write(directory: Path, model: nn.Module, architecture: Mapping[str, Any]) -> None:
    """Write `model` into `directory`. The architecture is written last: if it exists, the directory is complete.

    A shared tensor is written under each of its names, because an exported program has them all; `load` shares it again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    weights = weights_of(model)
    copies = {name: weights[first].clone() for name, first in shared_names(model).items()}
    write_atomically(directory / WEIGHTS, save({**weights, **copies}))
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
    if architecture.get("version", _VERSION) != _VERSION:
        raise InputError(f"{path}: has version {architecture['version']}; this Tutelage reads version {_VERSION}.")
    try:
        check_normalisation(path, signature_of(architecture["signature"]).inputs)
        [input_spec_of(one) for one in architecture.get("taken", ())]
        methods = [one["method"] for one in architecture.get("surgeries", ())]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: holds no readable signature or surgeries ({error!r}).") from None
    for reference in (architecture["model"], *methods):
        plugins.parse_reference(reference)
    return architecture


def check_normalisation(path: Path, inputs: Sequence[InputSpec]) -> None:
    """Raise `InputError` for inputs whose normalisation gives no numbers; `path` is the file that the message names."""
    for spec in inputs:
        if not all(map(math.isfinite, (*spec.mean, *spec.std))) or not all(one > 0 for one in spec.std):
            raise InputError(
                f"{path}: the input '{spec.name}' has a mean that is not finite, or a deviation that is not above 0."
            )


def _unreadable(directory: Path, error: Exception | str) -> InputError:
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


def architecture_at(path: Path) -> dict[str, Any] | None:
    """Return the architecture of the network in a directory; None for a file of weights, or a directory without one."""
    return read_architecture(path) if (path / ARCHITECTURE).is_file() else None


def weights_at(path: Path) -> dict[str, Tensor]:
    """Return the weights by name in a .safetensors file, or of the network in a directory; `InputError` if not readable."""
    if path.is_dir():
        return read_weights(path)
    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path} is no readable .safetensors file: {error}") from error


def _check_size(directory: Path, architecture: Mapping[str, Any]) -> None:
    """Raise `InputError` for a network that is far larger than its weights, before memory is taken for it."""
    try:
        with torch.device("meta"):
            model = build({**architecture, "surgeries": ()})
    except InputError:  # a user's network that cannot be built there, or one for which a later check raises the reason
        return
    stated = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    held = (directory / WEIGHTS).stat().st_size
    if stated > max(_SMALL_BYTES, _MAX_RATIO * held):
        raise InputError(f"{directory / ARCHITECTURE}: states a network of {stated:,} bytes, and {WEIGHTS} has {held:,}.")


def _check_finite(directory: Path, weights: Mapping[str, Tensor]) -> None:
    if wrong := [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise InputError(f"{directory / WEIGHTS}: {wrong[0]} holds numbers that are not finite. The network is damaged.")


def _rebuilt(directory: Path, architecture: Mapping[str, Any]) -> nn.Module:
    try:
        return seeded(architecture, 0)
    except TutelageError:
        raise
    except Exception as error:  # changes of another network may raise anything
        raise InputError(f"{directory / ARCHITECTURE}: its changes do not fit its model ({foreign.reason(error)}).") from error


def read(directory: Path, trusted: Collection[str] = PACKAGE_ONLY) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network in `directory`, in evaluation mode, and its architecture.

    Of the code that the architecture names, only the package's and that of the `trusted` `module:Name`s is run. Raises
    `InputError` for other code, and for files that are not readable.
    """
    architecture = read_architecture(directory)
    check_code(directory / ARCHITECTURE, architecture, trusted)
    if not (directory / WEIGHTS).is_file():
        raise _unreadable(directory, f"{WEIGHTS} is not a file")
    try:
        weights = load_file(directory / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise _unreadable(directory, error) from error
    with initial_weights.replaced():
        _check_size(directory, architecture)
        _check_finite(directory, weights)
        model = _rebuilt(directory, architecture)  # not on the meta device: what is no weight is as the constructor makes it
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    try:
        load(model, weights)
        if any(
            shapes[name] != tensor.shape for name, tensor in weights.items()
        ):  # channels were removed, or it is not its file
            result = forward.run(model, blank_arguments(signature_of(architecture["signature"]), 2))
            by_sequence(result, list(signature_of(architecture["signature"]).classes))
    except InputError as error:
        raise InputError(f"{directory / WEIGHTS} does not fit {ARCHITECTURE}: {error}") from error
    return model.eval(), architecture
