"""Tiny ONNX files: networks of images and vectors, and a recogniser of lines as PaddleOCR's, whose steps see all columns."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
HEIGHT_PX, STEP_PX = 6, 4  # of the recogniser


def saved(
    path: Path, nodes: Sequence[Any], sizes: Mapping[str, Sequence[Any]], weights: Mapping[str, np.ndarray], **about: str
) -> Path:
    """Write a file whose inputs are those of `sizes` that no node makes, and whose outputs are the others."""
    made = {name for node in nodes for name in node.output}
    values = {name: helper.make_tensor_value_info(name, FLOAT, list(shape)) for name, shape in sizes.items()}
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    inputs, outputs = ([value for name, value in values.items() if (name in made) == is_made] for is_made in (False, True))
    model = helper.make_model(
        helper.make_graph(list(nodes), "g", inputs, outputs, held), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, about)
    onnx.save(model, path)
    return path


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def images(path: Path, channels: int = 1, classes: int = 10, sizes: Sequence[Any] = ("h", "w"), **about: str) -> Path:
    """Write a convolution, `features`, its mean over the image, and a linear layer without a softmax."""
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["y"]),
    ]
    weights = {"kernel": numbers(4, channels, 3, 3), "matrix": numbers(4, classes, seed=1)}
    return saved(path, nodes, {"x": ["n", channels, *sizes], "y": ["n", classes]}, weights, **about)


def recogniser(path: Path, characters: str = "ab", channels: int = 3, **about: str) -> Path:
    """Write a recogniser of lines: a step for four pixels, the mean of all of them at each, a softmax and the blank first.

    As in PaddleOCR, the last class is the space, and metadata name the characters between the two.
    """
    classes = len(characters) + 2
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["maps"], strides=[HEIGHT_PX, STEP_PX]),
        helper.make_node("ReduceMean", ["maps"], ["mean"], axes=[3], keepdims=1),
        helper.make_node("Add", ["maps", "mean"], ["mixed"]),
        helper.make_node("Squeeze", ["mixed", "axis"], ["squeezed"]),
        helper.make_node("Transpose", ["squeezed"], ["features"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["features", "matrix"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=2),
    ]
    weights = {
        "kernel": numbers(5, channels, HEIGHT_PX, STEP_PX), "matrix": numbers(5, classes, seed=1), "axis": np.array([2]),
    }  # fmt: skip
    sizes = {"x": ["n", channels, HEIGHT_PX, "w"], "probabilities": ["n", "steps", classes]}
    return saved(path, nodes, sizes, weights, **{"character": "".join(f"{one}\n" for one in characters), **about})


@cache
def small() -> str:
    """Return the path of a recogniser that the contracts of networks use."""
    return str(recogniser(Path(tempfile.mkdtemp(prefix="onnx-")) / "lines.onnx"))
