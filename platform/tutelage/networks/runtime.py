"""A network in the form in which it is deployed: an ONNX file in onnxruntime, float or quantised to int8."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tutelage import foreign
from tutelage.errors import InputError, TutelageError, WorkFailed
from tutelage.files import sha256_of
from tutelage.networks import checkpoint, cost
from tutelage.networks.interface import arguments_of
from tutelage.networks.program import output_names, program_of
from tutelage.networks.trust import PACKAGE_ONLY
from tutelage.signature import Signature, signature_of

INT8, INT8_FILE = "int8", "model.int8.onnx"  # the key of an architecture that holds its quantised file's SHA-256, and the file
DESCRIBED = ("model", "signature")  # what of its architecture a program or an ONNX file holds


class Runnable(nn.Module):
    """A function as a module that can be measured; an exported program has no `eval` of its own."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self._run = run

    def forward(self, *arguments: Tensor) -> Any:
        """Return what the function returns."""
        return self._run(*arguments)


def described(architecture: Mapping[str, Any]) -> dict[str, str]:
    """Return the description that a single file of a student holds, as JSON: its model and its signature."""
    return {name: json.dumps(architecture[name]) for name in DESCRIBED if name in architecture}


def write_onnx(path: Path, model: nn.Module, signature: Signature, about: Mapping[str, str] | None = None) -> int:
    """Write `model` to `path` as it is exported, with `about` in its metadata; return the opset.

    Raises `WorkFailed` for a network that cannot be written as ONNX.
    """
    from tutelage.networks import onnx_format

    program = program_of(model.eval(), signature)
    try:
        return onnx_format.write(path, program, arguments_of(signature), output_names(program, signature), about or {})
    except TutelageError:
        raise
    except Exception as error:  # torch.onnx raises what it meets
        raise WorkFailed(f"the network cannot be written as ONNX: {foreign.reason(error)}.") from error


def onnx_bytes(model: nn.Module, signature: Signature) -> bytes:
    """Return `model` as the bytes of the ONNX file that is exported."""
    with tempfile.TemporaryDirectory() as scratch:
        write_onnx(path := Path(scratch) / "model.onnx", model, signature)
        return path.read_bytes()


def opened(file: bytes | Path, threads: int = 1) -> Runnable:
    """Return an ONNX file as a module, which onnxruntime runs on this many CPU threads."""
    from tutelage.networks import onnx_format

    if isinstance(file, Path):
        return Runnable(onnx_format.Session(file, threads).run)
    with tempfile.TemporaryDirectory() as scratch:
        (path := Path(scratch) / "model.onnx").write_bytes(file)
        return Runnable(onnx_format.Session(path, threads).run)


def int8_file(directory: Path) -> Path | None:
    """Return the quantised file of the student in `directory`; None for one that is deployed in its own precision.

    Raises `InputError` if it is not the file that was measured: its SHA-256 is in the architecture.
    """
    sha256, path = checkpoint.read_architecture(directory).get(INT8), directory / INT8_FILE
    if not sha256:
        return None
    if not path.is_file() or sha256_of(path) != sha256:
        raise InputError(
            f"{path} is not there, or is another file than the one that was measured: its SHA-256 is not that in "
            f"{checkpoint.ARCHITECTURE}. Bring back the file, or name another candidate."
        )
    return path


def read(directory: Path, trusted: Collection[str] = PACKAGE_ONLY) -> nn.Module:
    """Return the student in `directory` as it is deployed: its int8 file in onnxruntime if it has one, else the network."""
    file = int8_file(directory)
    return opened(file) if file else checkpoint.read(directory, trusted)[0]


def size_bytes(directory: Path, model: nn.Module) -> float:
    """Return the size of the student in `directory` as it is deployed: its int8 file's, else that of `model`."""
    from tutelage.networks import onnx_format

    file = int8_file(directory)
    return float(onnx_format.size_bytes(file)) if file else cost.size(model)["size_bytes"]


def signature_in(directory: Path) -> Signature:
    """Return the signature of the student in `directory`."""
    return signature_of(checkpoint.read_architecture(directory)["signature"])
