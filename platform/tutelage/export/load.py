"""What was exported, read back in whichever form it has, to be asked and measured."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import environment
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost
from tutelage.signature import signature_of

PROGRAM, ONNX = ".pt2", ".onnx"


RUNS_CODE = ("data/aotinductor/", "custom_obj_", "opaque_obj_")  # records of a program that are more than graph and tensors


TENSORS_ONLY = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}  # for unpickling, whatever `torch.export.load` asks for


DESCRIBED = ("model", "signature")  # what a program and an ONNX file say of themselves


class Answering(nn.Module):
    """Anything that answers, as a module that can be measured; an exported program has no `eval` of its own."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of `inputs`."""
        return self._answer(inputs)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A student as it is deployed: a module that answers, its form, and what it takes and gives.

    `class_names` is empty where the form does not name them. `size_bytes` is that of the weights, `file_bytes` the file's.
    """

    form: str
    module: nn.Module
    example_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    size_bytes: float
    file_bytes: int


def read(path: Path) -> Deployed:
    """Return what is at `path`: a directory with weights and architecture, a `.pt2` program or an `.onnx` model.

    Raises `InputError` for what is none of these, or is not readable.
    """
    if path.is_dir():
        return _network(path)
    readers = {PROGRAM: _program, ONNX: _onnx}
    if path.suffix not in readers:
        raise InputError(f"{path} is no exported student. Give a directory, a file {PROGRAM} or a file {ONNX}.")
    return readers[path.suffix](path)


def described(architecture: Mapping[str, Any]) -> dict[str, str]:
    """Return what a single file says of its student: classes, shape and normalisation, each as JSON."""
    return {name: json.dumps(architecture[name]) for name in DESCRIBED if name in architecture}


def _network(directory: Path) -> Deployed:
    model, architecture = checkpoint.read(directory)
    named = signature_of(architecture["signature"])
    return Deployed(
        form="weights", module=model, example_shape=named.example_shape,
        num_classes=len(named.class_names), class_names=named.class_names,
        size_bytes=cost.size(model)["size_bytes"], file_bytes=(directory / checkpoint.WEIGHTS).stat().st_size,
    )  # fmt: skip


def _program(path: Path) -> Deployed:
    said = dict.fromkeys(DESCRIBED, "")
    try:
        with zipfile.ZipFile(path) as archive, environment.set_to(TENSORS_ONLY):
            more = [name for name in archive.namelist() if any(part in name for part in RUNS_CODE)]
            program = None if more else torch.export.load(path, extra_files=said)
    except Exception as error:  # zip, JSON, version and unpickling errors have no common parent
        raise InputError(f"{path} is not a readable torch.export program: {error}") from None
    if program is None:
        raise InputError(f"{path} holds {more[0]}, which is more than a graph and tensors, and is not loaded: it may run code.")
    answer = program.module()
    seen = {node.name: node.meta.get("val") for node in program.graph.nodes}
    taken, given = (
        seen[str(names[0])] for names in (program.graph_signature.user_inputs, program.graph_signature.user_outputs)
    )
    if not (isinstance(taken, Tensor) and isinstance(given, Tensor)):
        raise InputError(f"{path} does not take one tensor and give one. Only such a program is measured.")
    tensors = program.state_dict.values()
    return Deployed(
        form="program", module=Answering(lambda rows: answer(rows)), example_shape=tuple(int(size) for size in taken.shape[1:]),
        num_classes=int(given.shape[-1]), class_names=_class_names(said),
        size_bytes=float(sum(t.numel() * t.element_size() for t in tensors)), file_bytes=path.stat().st_size,
    )  # fmt: skip


def _onnx(path: Path) -> Deployed:
    from tutelage.export import onnx_format

    session = onnx_format.Session(path)
    return Deployed(
        form="onnx", module=Answering(session.answer), example_shape=tuple(session.input_shape[1:]),
        num_classes=int(session.output_shape[-1]), class_names=_class_names(session.described),
        size_bytes=onnx_format.size_bytes(path), file_bytes=path.stat().st_size,
    )  # fmt: skip


def _class_names(said: Mapping[str, str]) -> tuple[str, ...]:
    return signature_of(json.loads(said["signature"])).class_names if said.get("signature") else ()
