"""A teacher that is not trained here: from a directory, MLflow's registry, or weights for a network of the user's own.

Only code that the spec names is run: weights are safetensors, or a PyTorch file of which only tensors are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tutelage.data import Examples
from tutelage.errors import InputError, nearest
from tutelage.export import registry
from tutelage.export.fit import first_difference
from tutelage.networks import checkpoint, class_rows, forward
from tutelage.networks.blank import classes_of
from tutelage.networks.trust import PACKAGE_ONLY
from tutelage.networks.weights import load, shared_names
from tutelage.signature import InputSpec, Signature, signature_of, vocabulary_difference
from tutelage.spec.sections import TeacherConfig
from tutelage.sweep.state_dicts import weights_in

_SHOWN = 4


def read_teacher(
    teacher: TeacherConfig,
    blank: Mapping[str, Any],
    train: Examples,
    uri: str,
    trusted: Collection[str] = PACKAGE_ONLY,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that a spec's teacher names, with outputs in the classes of `train`, and its architecture.

    `blank` is the architecture of an untrained `teacher.model` for this data; `uri` is MLflow's; of the code that the files
    name only `trusted` is run (see `checkpoint.read`). Raises `InputError` for files that cannot be read, for other inputs,
    and for a missing class of the data.
    """
    if teacher.path is not None:
        read = checkpoint.read(_directory(teacher.path, uri), trusted)
        _check_vocabulary(teacher.path, signature_of(read[1]["signature"]).inputs, train.input_specs)
        model, architecture = checkpoint.for_inputs(*read, train.input_specs)
    else:
        assert teacher.weights is not None, "a teacher that is not trained has a path or weights"
        architecture = {**blank, "signature": _named(signature_of(blank["signature"]), teacher.classes).document()}
        model = _with_weights(checkpoint.build(architecture), Path(teacher.weights)).eval()
    _check_outputs(model, architecture, train)
    return in_classes_of(model, architecture, signature_of(blank["signature"]))


def _named(signature: Signature, classes: Sequence[str] | None) -> Signature:
    """Return the signature with the names of `teacher.classes`; `InputError` for several label sequences, and a name twice."""
    if classes is None:
        return signature
    if len(signature.outputs) > 1:
        raise InputError(
            f"teacher.classes names the classes of one label sequence, and the task has {', '.join(signature.classes)}. Leave "
            "it out, with weights whose classes are those of the data, in their order."
        )
    if repeated := [name for name in signature.class_names if list(classes).count(name) > 1]:
        raise InputError(f"teacher.classes: two outputs are called '{repeated[0]}'. Give each class of the data one output.")
    return signature.with_class_names(tuple(classes))


def _directory(path: str, uri: str) -> Path:
    if not path.startswith(("models:/", "runs:/")):
        if Path(path).suffix == ".onnx":
            raise InputError(
                f"teacher.path {path} is a file; a path is a folder that `tutelage export` wrote. Give an ONNX file as the "
                f"teacher's model: {{onnx: {{path: {path}}}}}, with epochs: 0."
            )
        return Path(path)
    found = registry.download_network(uri, path)
    if found is None:
        raise InputError(
            f"teacher {path} holds no {checkpoint.ARCHITECTURE} with {checkpoint.WEIGHTS}, which "
            "`tutelage select --register` logs. A pickled model is not loaded, because that runs its code: save its state "
            "dict, and give teacher.model and teacher.weights."
        )
    return found


def _check_vocabulary(path: str, trained: Sequence[InputSpec], given: Sequence[InputSpec]) -> None:
    """Raise `InputError` for a teacher of texts that was trained with another vocabulary than the data have."""
    for one, own in zip(trained, given, strict=False):
        if (difference := vocabulary_difference(one, own)) is not None:
            raise InputError(
                f"teacher.path {path}: {difference} Read the data with the options that the teacher's data had, or train a "
                "teacher on these."
            )


def _with_weights(model: nn.Module, path: Path) -> nn.Module:
    source, wanted = f"teacher.weights {path}", {name: t.detach() for name, t in model.state_dict(keep_vars=True).items()}
    weights = weights_in(_loaded(path), wanted, shared_names(model), source)
    try:
        return load(model, weights)
    except InputError as error:
        raise InputError(f"{source} does not fit teacher.model: {error}") from None


def _loaded(path: Path) -> Any:
    """Return the content of a file of weights: a mapping of names to tensors, or of other keys to such mappings."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))  # the rest of torch's message is how to run the file's code
        what = f" ({wanted[1]})" if wanted else ""
        raise InputError(
            f"teacher.weights {path} holds more than tensors{what} and is not loaded, because that runs its code. "
            "Save the state dict alone: torch.save(model.state_dict(), path)."
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise InputError(f"teacher.weights {path} cannot be read: {error}") from None


def _check_outputs(model: nn.Module, architecture: Mapping[str, Any], train: Examples) -> None:
    """Raise `InputError` for a teacher that cannot take the data's examples, or whose number of classes is not that named."""
    named = signature_of(architecture["signature"])
    try:
        given = classes_of(forward.run(model, train.take(slice(2)).arguments), named)
    except InputError as error:
        here, there = (", ".join(str(spec.shape) for spec in specs) for specs in (train.input_specs, named.inputs))
        raise InputError(f"the teacher takes examples of {there}, the data has {here}: {error}") from None
    for name, count in named.classes.items():
        if given[name] != count:
            raise InputError(
                f"the teacher has {given[name]} outputs, and {count} classes are named. Name them in the outputs' order as "
                "teacher.classes."
            )


def in_classes_of(
    model: nn.Module, architecture: dict[str, Any], wanted: Signature
) -> tuple[nn.Module, dict[str, Any]]:  # fmt: skip
    """Return the teacher with outputs in the data's classes and their order; its further classes are left out.

    Raises `InputError` for several label sequences whose classes differ, and for a missing class.
    """
    named = signature_of(architecture["signature"])
    if [(one.name, one.names) for one in named.outputs] == [(one.name, one.names) for one in wanted.outputs]:
        return model, architecture
    if len(named.outputs) > 1 or len(wanted.outputs) > 1:
        raise InputError(
            f"the teacher has {', '.join(named.classes)}, the task needs {', '.join(wanted.classes)}"
            f"{_difference(named, wanted)}. With several label sequences, the classes must be those of the data, in order. "
            "Read the data with the options that the teacher's data had, or train a teacher on these."
        )
    known = list(named.class_names)
    if missing := [name for name in wanted.class_names if name not in known]:
        raise InputError(
            f"the teacher has {len(known)} classes and the data {len(wanted.class_names)}; the teacher lacks "
            f"{', '.join(missing[:_SHOWN])}.{nearest(missing[0], known)} A teacher must have the classes of the data; if only "
            "their names differ, name them in the order of its outputs as teacher.classes."
        )
    found, chosen = class_rows.chosen(model, architecture, wanted.class_names)
    return found.eval(), chosen


def _difference(named: Signature, wanted: Signature) -> str:
    """Return in words the first class of a label sequence that both have in which they differ, "" without any."""
    for own, other in zip(named.outputs, wanted.outputs, strict=False):
        if own.name == other.name and own.names != other.names:
            theirs, ours = first_difference(own.names, other.names)
            return f": in '{own.name}', '{theirs}' stands where the data have '{ours}'"
    return ""
