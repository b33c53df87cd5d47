"""ONNX files as they are read: checked before anything is computed, and opened by onnxruntime on the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from tutelage.errors import InputError

PROVIDERS = ["CPUExecutionProvider"]
FOLDED = "optimization.constant_folding_max_output_size_in_bytes"
MOST_FOLDED = 2**27  # bytes of a constant that onnxruntime computes as it loads a file; larger ones are computed at inference
MOST_OF_A_TENSOR = 2**31  # bytes of a tensor whose size does not depend on the input; a file itself can have no more


def read(path: Path) -> Any:
    """Return the model in an ONNX file.

    Raises `InputError` for a file that is not ONNX, whose tensors lie in other files, or that computes a huge tensor. The
    other files could be anywhere. A file of a few bytes can make a tensor of any size.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf, of onnx, of the operating system
        raise InputError(f"{path} is not a readable ONNX model: {error}") from None
    elsewhere = [
        tensor.name for tensor in _messages(model, onnx.TensorProto) if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if elsewhere:
        raise InputError(
            f"{path} keeps {len(elsewhere)} tensors in other files ({elsewhere[0]}, …), which are not read: the file can name "
            "any path. Save it as one file: onnx.save(model, path, save_as_external_data=False)."
        )
    _check_sizes(path, model)
    return model


def opened(content: str | bytes, name: Path | str, threads: int = 1) -> Any:
    """Return onnxruntime's session of a file, by its path or its bytes, on this many CPU threads.

    Raises `InputError`, with the `name` of the file, for one that onnxruntime cannot open.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry(FOLDED, str(MOST_FOLDED))
    options.log_severity_level = 4  # a failure is raised, and printed once
    try:
        return onnxruntime.InferenceSession(content, options, providers=PROVIDERS)
    except Exception as error:  # onnxruntime's own exceptions have no common parent
        raise InputError(f"{name} is not a readable ONNX model: {error}") from None


def _check_sizes(path: Path, model: Any) -> None:
    try:
        inferred = onnx.shape_inference.infer_shapes(model)  # without data: to propagate a range of numbers would make it
    except Exception:  # onnxruntime's message has the reason
        return
    size, name = max(((_bytes_of(value), value.name) for value in _messages(inferred, onnx.ValueInfoProto)), default=(0, ""))
    if size > MOST_OF_A_TENSOR:
        raise InputError(
            f"{path} computes a tensor of {size:,} bytes or more ('{name}') for every input, and at most {MOST_OF_A_TENSOR:,} "
            "are accepted. Export the network again without it."
        )


def _messages(message: Any, kind: type) -> Iterator[Any]:
    """Give every message of a kind in an ONNX message, those in nodes, subgraphs and functions too."""
    if isinstance(message, kind):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(one, kind)


def _bytes_of(value: Any) -> int:
    """Return the bytes of a tensor that the graph describes; a free dimension counts as 1, and so does an unknown type."""
    tensor = value.type.tensor_type
    each: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize if tensor.elem_type else 1
    sizes: list[int] = [max(1, size.dim_value) for size in tensor.shape.dim]
    return math.prod(sizes) * each
