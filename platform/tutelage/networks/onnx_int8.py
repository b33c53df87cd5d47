"""An ONNX file quantised to int8 by onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from tutelage.networks.onnx_format import Session, quietly

WITH_WEIGHTS = ("Conv", "Gather", "Gemm", "MatMul")

Batches = Iterable[Mapping[str, NDArray[Any]]]  # a batch: its arguments by name


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Batches of real examples in the form in which onnxruntime requests them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None."""
        batch = next(self.batches, None)
        return None if batch is None else dict(batch)


def quantise_static(source: Path, path: Path, batches: Batches) -> None:
    """Write `source` with int8 weights (a scale a channel) and uint8 activations in the ranges they have for `batches`.

    In a network that takes a mask only the operations with weights are quantised: a range of 256 values has no place for minus
    infinity, which attention adds at masked steps.
    """
    is_masked = any(port.dtype == "bool" for port in Session(source).arguments)
    with quietly():
        quantize_static(
            str(source), str(path), _Calibration(batches), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=list(WITH_WEIGHTS) if is_masked else None,
        )  # fmt: skip


def quantise_dynamic(source: Path, path: Path, _batches: Batches) -> None:
    """Write `source` with int8 weights and activations that are quantised at inference, in the range of each batch."""
    with quietly():
        quantize_dynamic(str(source), str(path), weight_type=QuantType.QInt8)


QUANTISERS: dict[str, Callable[[Path, Path, Batches], None]] = {
    "onnx-int8": quantise_static,
    "onnx-int8-dynamic": quantise_dynamic,
}


def float_weights(path: Path) -> str:
    """Return in words which operators of a quantised file keep float weights; "" where none does.

    Such are recurrent layers, which onnxruntime does not quantise statically.
    """
    graph = onnx.load(path, load_external_data=False).graph
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    matrices = {one.name for one in floats if len(one.dims) > 1 and np.prod(one.dims) > 1}
    kept = Counter(node.op_type for node in graph.node if node.op_type not in _CASTS and matrices & set(node.input))
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(kept.items()))


_CASTS = ("QuantizeLinear", "DequantizeLinear")
