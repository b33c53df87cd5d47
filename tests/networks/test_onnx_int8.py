"""What an ONNX file quantised by onnxruntime holds: int8 weights with a scale a channel, and which weights stay float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tutelage.networks import onnx_int8

INPUTS, OUTPUTS = 6, 4
FLOAT, INT8, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An ONNX file of one matrix product whose columns differ much in size, and a sum."""
    weight = np.random.default_rng(0).standard_normal((INPUTS, OUTPUTS)).astype(np.float32) * np.float32([0.01, 0.1, 1, 10])
    product = helper.make_node("MatMul", ["inputs", "weight"], ["product"])
    graph = helper.make_graph(
        [product, helper.make_node("Add", ["product", "bias"], ["logits"])],
        "one", [helper.make_tensor_value_info("inputs", FLOAT, ["batch", INPUTS])],
        [helper.make_tensor_value_info("logits", FLOAT, ["batch", OUTPUTS])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.ones(OUTPUTS, np.float32), "bias")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "source.onnx")
    return tmp_path / "source.onnx"


def arrays(path: Path) -> dict[str, onnx.TensorProto]:
    """Return the constants of an ONNX file by name."""
    return {one.name: one for one in onnx.load(path).graph.initializer}


def test_weights_are_int8_with_a_scale_for_each_channel_and_activations_uint8(source: Path, tmp_path: Path) -> None:
    batches = [{"inputs": np.random.default_rng(1).standard_normal((8, INPUTS)).astype(np.float32)}]
    onnx_int8.quantise_static(source, tmp_path / "int8.onnx", batches)
    found = arrays(tmp_path / "int8.onnx")
    assert found["weight_quantized"].data_type == INT8 and list(found["weight_scale"].dims) == [OUTPUTS]
    assert found["inputs_zero_point"].data_type == UINT8
    assert onnx_int8.float_weights(tmp_path / "int8.onnx") == ""
    assert onnx_int8.float_weights(source) == "MatMul"


def test_activations_of_the_dynamic_form_have_no_range_in_the_file(source: Path, tmp_path: Path) -> None:
    onnx_int8.quantise_dynamic(source, tmp_path / "int8.onnx", [])
    found = arrays(tmp_path / "int8.onnx")
    assert found["weight_quantized"].data_type == INT8 and not any(name.startswith("inputs_") for name in found)
