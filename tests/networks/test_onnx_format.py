"""An ONNX file that computes a huge tensor, whatever its input, is refused before memory is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from tutelage import onnx_files
from tutelage.errors import InputError
from tutelage.networks import onnx_format
from tutelage.networks.onnx_format import Session

FLOAT = onnx.TensorProto.FLOAT


def written(path: Path, operator: str, constants: Sequence[np.ndarray]) -> Path:
    """Write a file of some hundred bytes that adds the largest number of what the operator makes of constants to its input."""
    names = [f"constant {number}" for number in range(len(constants))]
    nodes = [
        helper.make_node(operator, names, ["made"]), helper.make_node("Cast", ["made"], ["floats"], to=FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["most"], keepdims=0), helper.make_node("Add", ["x", "most"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, FLOAT, ["batch", 4]) for name in "xy"]
    held = [numpy_helper.from_array(one, name) for one, name in zip(constants, names, strict=True)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def of(side: int) -> dict[str, list[np.ndarray]]:
    """Return the constants with which an operator makes side × side numbers."""
    sides = np.array([side, side], np.int64)
    one = np.ones((1, 1), np.float32)
    return {
        "ConstantOfShape": [sides], "Expand": [one, sides], "Tile": [one, sides],
        "Pad": [one, np.array([0, 0, side, side], np.int64)],
        "Range": [np.array(limit, np.int64) for limit in (0, side * side, 1)],
    }  # fmt: skip


@pytest.mark.parametrize("operator", of(1))
def test_a_huge_tensor_is_an_error_and_a_small_one_is_computed(operator: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"huge\.onnx computes a tensor of \d+,\d{3},\d{3},\d{3} bytes or more"):
        Session(written(tmp_path / "huge.onnx", operator, of(50_000)[operator]))
    session = Session(written(tmp_path / "small.onnx", operator, of(2)[operator]))
    most = {"ConstantOfShape": 0.0, "Range": 3.0}.get(operator, 1.0)
    assert torch.equal(session.run(torch.zeros(1, 4)), torch.full((1, 4), most))  # type: ignore[arg-type]


def test_onnxruntime_computes_no_large_constant_when_it_loads_a_file(tmp_path: Path) -> None:
    """A size that is itself computed is not known before the file runs."""
    session = Session(written(tmp_path / "small.onnx", "ConstantOfShape", of(2)["ConstantOfShape"]))
    options = session._session.get_session_options()
    assert int(options.get_session_config_entry(onnx_files.FOLDED)) == onnx_files.MOST_FOLDED < 2**28


def test_a_file_has_no_notes_on_the_shapes_of_its_weights() -> None:
    """The quantiser of onnxruntime 1.23 transposes a weight and leaves the note as it is, which is an error then."""
    value = helper.make_tensor_value_info
    held = [numpy_helper.from_array(np.ones((4, 4), np.float32), "w")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    notes = [value("w", FLOAT, [4, 4]), value("inner", FLOAT, ["batch", 4])]
    ends = [value(name, FLOAT, ["batch", 4]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], held, value_info=notes))
    onnx_format._leave_out_shapes_of_weights(model)
    assert [note.name for note in model.graph.value_info] == ["inner"]


def test_what_the_exporter_prints_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with onnx_format.quietly():
        print("Applied 1 of general pattern rewrite rules.")
    assert capsys.readouterr().out == ""
