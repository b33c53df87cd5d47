"""A network as ONNX: written from its torch.export program, quantised to int8, answered by onnxruntime.

The one place that imports onnx and onnxruntime.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import Tensor
from torch.export import ExportedProgram

from tutelage.errors import InputError
from tutelage.files import write_atomically

INPUT, OUTPUT = "inputs", "logits"


CALIBRATION_BATCH = 32


PROVIDERS = ["CPUExecutionProvider"]


def write(path: Path, program: ExportedProgram, described: Mapping[str, str]) -> int:
    """Write `program` to `path` as ONNX whose batch may have any size, `described` in its metadata; return its opset.

    Of the exporter's notes on where each operation stood in the source nothing is kept: they double the file and tell
    the paths of this machine.
    """
    with _quietly():
        written = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    assert written is not None
    model = written.model_proto
    for node in [*model.graph.node, *(inner for function in model.functions for inner in function.node)]:
        del node.metadata_props[:]
        node.doc_string = ""
    given = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for size in value.type.tensor_type.shape.dim:
            if given and size.dim_param == given:
                size.dim_param = "batch"
    onnx.helper.set_model_props(model, dict(described))
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Real examples, a batch at a time, as onnxruntime asks for them."""

    def __init__(self, examples: Tensor) -> None:
        self.batches = iter(examples.split(CALIBRATION_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


def quantise_static(source: Path, path: Path, examples: Tensor) -> None:
    """Write `source` with int8 weights (a scale a channel) and uint8 activations whose ranges `examples` `[n, …]` showed."""
    with _quietly():
        quantize_static(
            str(source), str(path), _Calibration(examples), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip


def quantise_dynamic(source: Path, path: Path, _examples: Tensor) -> None:
    """Write `source` with int8 weights and activations that are quantised as they come, a range a batch."""
    with _quietly():
        quantize_dynamic(str(source), str(path), weight_type=QuantType.QInt8)


class Session:
    """An ONNX file under onnxruntime on one CPU thread, as `answer(inputs) → logits`."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)
        except Exception as error:  # onnxruntime's own exceptions have no common parent
            raise InputError(f"{path} is not a readable ONNX model: {error}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            listed = ", ".join(f"{one.name} {one.type}" for one in inputs)
            raise InputError(f"{path} takes {listed}. A model with one float input is measured.")
        self._name = inputs[0].name
        self.input_shape, self.output_shape = list(inputs[0].shape), list(outputs[0].shape)
        self.described: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def answer(self, inputs: Tensor) -> Tensor:
        """Return the logits `[n, classes]` of `inputs` `[n, …]`."""
        return torch.from_numpy(self._session.run(None, {self._name: inputs.numpy()})[0])


def size_bytes(path: Path) -> float:
    """Return the bytes of an ONNX file's weights at their own precision, without its graph."""
    tensors = onnx.load(path).graph.initializer
    return float(sum(int(np.prod(t.dims)) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in tensors))


QUANTISERS: dict[str, Callable[[Path, Path, Tensor], None]] = {
    "onnx-int8": quantise_static,
    "onnx-int8-dynamic": quantise_dynamic,
}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's and the quantiser's chatter off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
