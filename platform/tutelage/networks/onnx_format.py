"""A network as ONNX: written from its torch.export program, and run by onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.export import ExportedProgram

from tutelage import onnx_files
from tutelage.errors import InputError
from tutelage.files import write_atomically
from tutelage.networks.interface import Port


def write(
    path: Path, program: ExportedProgram, arguments: Sequence[Port], output_names: Sequence[str], described: Mapping[str, str]
) -> int:  # fmt: skip
    """Write `program` to `path` as ONNX with free dimensions, and `described` in its metadata; return its opset.

    The exporter's notes on where each operation stood in the source are left out: they double the file and have the paths of
    this machine.
    """
    names = [port.name for port in arguments]
    with quietly():
        written = torch.onnx.export(program, dynamo=True, input_names=names, output_names=list(output_names), verbose=False)
    assert written is not None
    model = written.model_proto
    for node in [*model.graph.node, *(inner for function in model.functions for inner in function.node)]:
        del node.metadata_props[:]
        node.doc_string = ""
    _name_dimensions(model, arguments)
    _leave_out_shapes_of_weights(model)
    onnx.helper.set_model_props(model, dict(described))
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))


def load(path: Path) -> Any:
    """Return an ONNX file as its model."""
    return onnx.load(path)


def _name_dimensions(model: Any, arguments: Sequence[Port]) -> None:
    """Give the free dimensions the names that the arguments have for them, in place of the exporter's symbols."""
    named = {}
    for value, port in zip(model.graph.input, arguments, strict=True):
        for size, name in zip(value.type.tensor_type.shape.dim, port.shape, strict=True):
            if size.dim_param and isinstance(name, str):
                named[size.dim_param] = name
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in named:
                size.dim_param = named[size.dim_param]


def _leave_out_shapes_of_weights(model: Any) -> None:
    """Remove the notes on shapes that weights have themselves: onnxruntime 1.23 transposes a weight, and not the note on it."""
    weights = {weight.name for weight in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


class Session:
    """An ONNX file under onnxruntime on this many CPU threads, called with its arguments in order.

    `described` is the file's metadata.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path = path
        onnx_files.read(path)
        self._session = onnx_files.opened(str(path), path, threads)
        self.arguments = [_port(one) for one in self._session.get_inputs()]
        self.outputs = [_port(one) for one in self._session.get_outputs()]
        self.described: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, *arguments: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the only output, or several by name; `InputError` if onnxruntime cannot run the file."""
        named = {port.name: tensor.numpy() for port, tensor in zip(self.arguments, arguments, strict=True)}
        try:
            found = [torch.from_numpy(array) for array in self._session.run(None, named)]
        except Exception as error:  # onnxruntime's own exceptions have no common parent
            raise InputError(f"{self._path} cannot be run by onnxruntime: {error}") from None
        return found[0] if len(found) == 1 else {port.name: array for port, array in zip(self.outputs, found, strict=True)}


DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}


def _port(argument: Any) -> Port:
    """Return an input or output of a session; a dimension without a name or size is free too."""
    shape = tuple(size if isinstance(size, int) else str(size) for size in argument.shape)
    return Port(name=argument.name, dtype=DTYPES.get(argument.type, argument.type), shape=shape)


def size_bytes(path: Path) -> float:
    """Return the bytes of an ONNX file's weights at their own precision, without its graph."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return float(sum(int(np.prod(t.dims)) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in tensors))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the exporter's and the quantiser's chatter off the screen; onnxscript 0.6 prints on stdout, which has results."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
