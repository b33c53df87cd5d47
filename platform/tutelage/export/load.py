"""An exported student loaded from any of its forms, to be run and measured."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from tutelage import environment
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost, runtime
from tutelage.networks.interface import Port, arguments_of
from tutelage.networks.runtime import DESCRIBED, Runnable
from tutelage.networks.trust import EVERYTHING, PACKAGE_ONLY
from tutelage.signature import InputSpec, OutputSpec, Signature, signature_of

PROGRAM, ONNX = ".pt2", ".onnx"


RUNS_CODE = ("data/aotinductor/", "custom_obj_", "opaque_obj_")  # entries of a program file beyond graph and tensors


TENSORS_ONLY = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}  # restricts unpickling, whatever `torch.export.load` passes


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A student as it is deployed: a module to run, its form, and its signature.

    The class names are empty strings where a file does not name them. `size_bytes` is that of the weights, `file_bytes` the
    file's.
    """

    form: str
    module: nn.Module
    signature: Signature
    size_bytes: float
    file_bytes: int

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs with their normalisation; empty if the file does not describe them."""
        return self.signature.inputs if any(name for output in self.signature.outputs for name in output.names) else ()


def read(path: Path, trusted: Collection[str] = PACKAGE_ONLY, own_programs: Collection[str] = frozenset()) -> Deployed:
    """Return the student at `path`: a directory with weights and architecture, a `.pt2` program or an `.onnx` model.

    Of the code that an architecture names, only the package's and `trusted` is run (see `networks.trust`). Loading a program
    runs expressions that it holds: it is loaded if its SHA-256 is among `own_programs`, or everything is trusted. Raises
    `InputError` for other code, and for a path that is not a readable student.
    """
    if path.is_dir():
        return _network(path, trusted)
    if path.suffix == PROGRAM:
        return _program(path, None if trusted is EVERYTHING else own_programs)
    if path.suffix == ONNX:
        return _onnx(path)
    raise InputError(f"{path} is not an exported student. Give a directory, a file {PROGRAM} or a file {ONNX}.")


def _network(directory: Path, trusted: Collection[str]) -> Deployed:
    if file := runtime.int8_file(directory):
        return _onnx(file)
    model, architecture = checkpoint.read(directory, trusted)
    return Deployed(
        form="weights", module=model, signature=signature_of(architecture["signature"]),
        size_bytes=cost.size(model)["size_bytes"], file_bytes=(directory / checkpoint.WEIGHTS).stat().st_size,
    )  # fmt: skip


def _program(path: Path, own: Collection[str] | None) -> Deployed:
    """Return the program at `path`. Its SHA-256 must be among `own`, unless `own` is None."""
    held = dict.fromkeys(DESCRIBED, "")
    try:
        content = io.BytesIO(path.read_bytes())  # read once, so that the hashed bytes are the loaded ones
        with zipfile.ZipFile(content) as archive:
            _check_stored(path, archive)
            more = [name for name in archive.namelist() if any(part in name for part in RUNS_CODE)]
        _check_program(path, more, is_own=own is None or hashlib.sha256(content.getbuffer()).hexdigest() in own)
        content.seek(0)
        with environment.set_to(TENSORS_ONLY), _without_warnings():
            program = torch.export.load(content, extra_files=held)
    except InputError:
        raise
    except Exception as error:  # zip, JSON, version and unpickling errors share no base class
        reason = str(error).partition("Please check the warnings")[0].strip()  # they are not shown
        raise InputError(f"{path} is not a readable torch.export program: {reason}") from None
    run, tensors = program.module(), program.state_dict.values()
    arguments, outputs = (
        [_port(program, str(name)) for name in names]
        for names in (program.graph_signature.user_inputs, program.graph_signature.user_outputs)
    )
    return Deployed(
        form="program", module=Runnable(lambda *given: run(*given)), signature=_signature(path, held, arguments, outputs),
        size_bytes=float(sum(t.numel() * t.element_size() for t in tensors)), file_bytes=path.stat().st_size,
    )  # fmt: skip


def _check_stored(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise `InputError` if the entries of a program take more memory than the file has bytes: torch compresses none."""
    size_bytes = sum(entry.file_size for entry in archive.infolist())
    if size_bytes > path.stat().st_size:
        raise InputError(f"{path} holds entries of {size_bytes:,} bytes in {path.stat().st_size:,}, and is not unpacked.")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that it raises too."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_program(path: Path, more: Sequence[str], *, is_own: bool) -> None:
    if more:
        raise InputError(f"{path} holds {more[0]}, which is more than a graph and tensors, and is not loaded: it may run code.")
    if not is_own:
        raise InputError(
            f"{path} was not exported with this storage, and is not loaded: torch evaluates expressions of a program. "
            "Evaluate the directory of weights or the ONNX file, name the storage (--storage), or, if you trust who made it, "
            "give --trust."
        )


def _port(program: ExportedProgram, name: str) -> Port:
    value = next((node.meta.get("val") for node in program.graph.nodes if node.name == name), None)
    if not isinstance(value, Tensor):
        return Port(name=name, dtype="no tensor", shape=())
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return Port(name=name, dtype=str(value.dtype).removeprefix("torch."), shape=shape)


def _onnx(path: Path) -> Deployed:
    from tutelage.networks import onnx_format

    session = onnx_format.Session(path)
    return Deployed(
        form="onnx", module=Runnable(session.run),
        signature=_signature(path, session.described, session.arguments, session.outputs),
        size_bytes=onnx_format.size_bytes(path), file_bytes=path.stat().st_size,
    )  # fmt: skip


def _signature(path: Path, held: Mapping[str, str], arguments: Sequence[Port], outputs: Sequence[Port]) -> Signature:
    """Return the signature that a file holds; of one that holds none, the signature of its only input and output."""
    if not held.get("signature"):
        return _plain(path, arguments, outputs)
    try:
        signature = signature_of(json.loads(held["signature"]))
        checkpoint.check_normalisation(path, signature.inputs)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} holds no readable signature: {error!r}") from None
    wanted = arguments_of(signature)
    if len(wanted) != len(arguments) or any(not _agree(one, other) for one, other in zip(wanted, arguments, strict=True)):
        shown = (", ".join(f"{port.name} {port.dtype} {port.shape}" for port in ports) for ports in (wanted, arguments))
        raise InputError(f"{path}: its signature has the inputs {next(shown)}, its graph {next(shown)}. The file is not whole.")
    return signature


def _agree(wanted: Port, found: Port) -> bool:
    sizes = zip(wanted.shape, found.shape, strict=False)
    return (
        wanted.dtype == found.dtype
        and len(wanted.shape) == len(found.shape)
        and all(one == other for one, other in sizes if isinstance(one, int))
    )


def _plain(path: Path, arguments: Sequence[Port], outputs: Sequence[Port]) -> Signature:
    is_single = len(arguments) == len(outputs) == 1 and arguments[0].dtype == outputs[0].dtype == "float32"
    classes = outputs[0].shape[-1] if is_single and outputs[0].shape else None
    if not isinstance(classes, int):
        listed = (", ".join(f"{port.name} {port.dtype}" for port in ports) for ports in (arguments, outputs))
        raise InputError(
            f"{path} holds no signature, takes {next(listed)} and gives {next(listed)}. A file "
            "without a signature must have one float input, and one output with a fixed number of classes."
        )
    shape = arguments[0].shape[1:]
    taken = InputSpec(name=arguments[0].name, kind="image" if len(shape) == 3 else "vector", shape=shape)
    return Signature(inputs=(taken,), outputs=(OutputSpec(name=outputs[0].name, names=("",) * classes),))
