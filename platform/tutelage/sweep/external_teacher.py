"""A teacher from elsewhere: a directory, a model of MLflow's registry, or weights for a network of the user's own.

Nothing that is read runs code: weights are safetensors, or tensors alone out of a PyTorch file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tutelage.data import Split
from tutelage.errors import InputError, nearest
from tutelage.export import registry
from tutelage.networks import checkpoint
from tutelage.spec.sections import TeacherConfig

_NESTED = ("state_dict", "model", "net")  # where training scripts put a state dict in their checkpoint


_SHOWN = 4


def read_teacher(teacher: TeacherConfig, blank: Mapping[str, Any], train: Split, uri: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that a spec's teacher names, answering in the classes of `train`, and its architecture.

    `blank` is the architecture of an untrained `teacher.model` for this data; `uri` is where MLflow is. Raises `InputError`
    for what is not readable, has another input, or lacks a class of the data.
    """
    if teacher.path is not None:
        model, architecture = checkpoint.read(_directory(teacher.path, uri))
    else:
        assert teacher.weights is not None, "a teacher that is not trained has a path or weights"
        architecture = {**blank, "class_names": teacher.classes or list(train.class_names)}
        model = _with_weights(checkpoint.build(architecture), Path(teacher.weights)).eval()
    _check_answers(model, architecture, train)
    return in_classes_of(model, architecture, train.class_names)


def _directory(path: str, uri: str) -> Path:
    if not path.startswith(("models:/", "runs:/")):
        return Path(path)
    found = registry.download_network(uri, path)
    if found is None:
        raise InputError(
            f"teacher {path} holds no {checkpoint.ARCHITECTURE} with {checkpoint.WEIGHTS}, which "
            "`tutelage select --register` logs. A pickled model is not loaded, because that runs its code: save its state "
            "dict, and give teacher.model and teacher.weights."
        )
    return found


def _with_weights(model: nn.Module, path: Path) -> nn.Module:
    weights, wanted = _read_weights(path), model.state_dict()
    wrong = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    missing = [f"{name} is missing" for name in wanted if name not in weights]
    surplus = [f"{name} is not in the model.{nearest(name, wanted)}" for name in weights if name not in wanted]
    if problems := [*wrong, *missing, *surplus]:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(
            f"teacher.weights {path} does not fit teacher.model: {'; '.join(problems[:_SHOWN])}{more}. "
            "Name the architecture that was trained, with its options."
        )
    model.load_state_dict(weights)
    return model


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        loaded = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))  # the rest of torch's message tells how to run the file's code
        what = f" ({asked[1]})" if asked else ""
        raise InputError(
            f"teacher.weights {path} holds more than tensors{what} and is not loaded, because that runs its code. "
            "Save the state dict alone: torch.save(model.state_dict(), path)."
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise InputError(f"teacher.weights {path} cannot be read: {error}") from None
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise InputError(f"teacher.weights {path} is no state dict: a mapping of names to tensors.")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def _check_answers(model: nn.Module, architecture: Mapping[str, Any], train: Split) -> None:
    try:
        with torch.inference_mode():
            answers = model(train.seen(slice(2)))
    except (RuntimeError, ValueError) as error:
        shape = architecture.get("example_shape")
        raise InputError(f"the teacher takes examples of {shape}, the data has {list(train.example_shape)}: {error}") from None
    if answers.shape[-1] != len(architecture["class_names"]):
        raise InputError(
            f"the teacher answers with {answers.shape[-1]} classes, {len(architecture['class_names'])} are named. "
            "Name them in the order of its outputs as teacher.classes."
        )


def in_classes_of(
    model: nn.Module, architecture: dict[str, Any], class_names: Sequence[str]
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the teacher answering in the data's classes and their order; its further classes are left out."""
    known = list(architecture["class_names"])
    if known == list(class_names):
        return model, architecture
    if missing := [name for name in class_names if name not in known]:
        raise InputError(
            f"the teacher knows {len(known)} classes, the data has {len(class_names)}, and it does not know "
            f"{', '.join(missing[:_SHOWN])}.{nearest(missing[0], known)} A teacher must have the classes of the data; if only "
            "their names differ, name them in the order of its outputs as teacher.classes."
        )
    columns = [known.index(name) for name in class_names]
    chosen = {**architecture, "class_names": list(class_names), "columns": {"of": len(known), "taken": columns}}
    return checkpoint.ChosenClasses(model, columns).eval(), chosen
