"""An ONNX graph as a module: its weights are parameters, and onnxruntime runs it on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tutelage import onnx_files
from tutelage.errors import InputError, nearest

_WEIGHTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)  # types of tensors that are parameters
_TYPES = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.FLOAT16: torch.float16,
          onnx.TensorProto.DOUBLE: torch.float64, onnx.TensorProto.INT64: torch.int64,
          onnx.TensorProto.INT32: torch.int32, onnx.TensorProto.BOOL: torch.bool}  # fmt: skip
_SHOWN = 6  # names in a message
_PRODUCTS = {  # operators that multiply and accumulate → the places of their factors among the inputs
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", "MatMul", "MatMulInteger", "Gemm"), (0, 1)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (0, 3)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (0, 1, 2)),
}


class Graph(nn.Module):
    """The graph of an ONNX file; `inputs` maps its inputs to their shapes, in which None is a free size.

    A call takes arguments in the order of the inputs, and returns the graph's outputs and the tensors named in `more` by name.
    It has no gradient. The weights are parameters, so that they are counted, saved and part of addresses. What else the file
    has is a buffer, and the saved network is therefore the whole graph.
    """

    def __init__(self, model: Any, path: Path, more: Sequence[str] = ()) -> None:
        super().__init__()
        self.path = path
        weights = _taken_out(model)
        if not weights:
            raise InputError(f"{path}: has no weights of a floating-point type, so it is no network that can be a teacher.")
        given = [one for one in model.graph.input if one.name not in {held.name for held in model.graph.initializer}]
        self.inputs = {one.name: _sizes(one) for one in given}
        self._types = {one.name: _TYPES.get(one.type.tensor_type.elem_type) for one in given}
        self.outputs = [one.name for one in model.graph.output]
        _with_outputs(model, more, path)
        self.names = list(weights)
        self.weights = nn.ParameterList(nn.Parameter(tensor) for tensor in weights.values())
        content = bytearray(model.SerializeToString())
        self.register_buffer("graph", torch.frombuffer(content, dtype=torch.uint8))
        self._opened: tuple[list[Tensor], Any] | None = None
        self.register_load_state_dict_post_hook(_close)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}  # a session stays in its process

    def close(self) -> None:
        """Forget the session, whose weights are those of the time when it was opened."""
        self._opened = None

    def forward(self, *arguments: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, on the device of the arguments, floating-point ones in float32.

        Raises `InputError` for arguments that onnxruntime cannot run the graph with, and where it is exported.
        """
        if torch.compiler.is_exporting():
            raise InputError(f"{self.path}: is an ONNX file already, which onnxruntime runs, and is not exported again.")
        device = arguments[0].device
        held = [torch.zeros(one.shape, dtype=one.dtype, device="cpu") if one.is_meta else one.cpu() for one in arguments]
        found = _run(self._session(), self._named(held), self.path)
        return {name: (one.float() if one.is_floating_point() else one).to(device) for name, one in found.items()}

    def macs(self, *arguments: Tensor) -> float:
        """Return the multiply–accumulates of one call; those of loops and branches within the graph are not counted."""
        model = onnx.inliner.inline_local_functions(self._model())
        made = [node for node in model.graph.node if node.op_type in _PRODUCTS]
        factors = {node.input[place] for node in made for place in _PRODUCTS[node.op_type]}
        known = {one.name: tuple(one.dims) for one in model.graph.initializer} | {
            one: tuple(tensor.shape) for one, tensor in zip(self.inputs, arguments, strict=True)
        }
        wanted = dict.fromkeys([name for node in made for name in node.output[:1] if name] + sorted(factors - known.keys()))
        _with_outputs(model, [name for name in wanted if name not in self.outputs], self.path)
        session = onnx_files.opened(model.SerializeToString(), self.path)
        held = [torch.zeros(one.shape, dtype=one.dtype, device="cpu") for one in arguments]
        shapes = known | {name: tuple(one.shape) for name, one in _run(session, self._named(held), self.path).items()}
        return float(sum(_products_of(node, shapes) for node in made))

    def _named(self, arguments: Sequence[Tensor]) -> dict[str, np.ndarray]:
        pairs = zip(self._types.items(), arguments, strict=True)
        return {name: (tensor if kind is None else tensor.to(kind)).contiguous().numpy() for (name, kind), tensor in pairs}

    def _session(self) -> Any:
        """Return the session of the present weights, which is opened when it is first needed."""
        held = [self.get_buffer("graph"), *self.weights]
        if self._opened is None or any(one is not other for one, other in zip(self._opened[0], held, strict=True)):
            content = self._model().SerializeToString()
            self._opened = (held, onnx_files.opened(content, self.path, torch.get_num_threads()))
        return self._opened[1]

    def _model(self) -> Any:
        """Return the ONNX model with its present weights."""
        model = onnx.ModelProto.FromString(self.get_buffer("graph").cpu().numpy().tobytes())
        held = {one.name: one for one in model.graph.initializer}
        for name, weight in zip(self.names, self.weights, strict=True):
            held[name].CopyFrom(numpy_helper.from_array(weight.detach().cpu().numpy(), name))
        return model


def _close(graph: nn.Module, _keys: Any) -> None:
    assert isinstance(graph, Graph)
    graph.close()


def _taken_out(model: Any) -> dict[str, Tensor]:
    """Return the weights by name, and leave tensors without data in their places; constants of the graph are weights too.

    Single numbers and tensors that are not finite, such as an attention's mask, stay in the graph.
    """
    graph, found = model.graph, {}
    for node in [one for one in graph.node if one.op_type == "Constant" and one.attribute[0].name == "value"]:
        if node.attribute[0].t.dims and node.attribute[0].t.data_type in _WEIGHTS:
            graph.initializer.add().CopyFrom(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)
    for one in graph.initializer:
        if one.data_type in _WEIGHTS and one.dims and np.isfinite(array := numpy_helper.to_array(one)).all():
            found[one.name] = torch.from_numpy(np.array(array))
            one.CopyFrom(onnx.TensorProto(name=one.name, data_type=one.data_type))
    return found


def _with_outputs(model: Any, names: Sequence[str], path: Path) -> None:
    """Make tensors of the graph outputs too. Raises `InputError` for one that the graph does not compute."""
    made = [name for node in model.graph.node for name in node.output]
    there = {one.name for one in model.graph.output}
    for name in names:
        if name not in made:
            listed = ", ".join(f"'{one}'" for one in made[-_SHOWN:])
            raise InputError(
                f"{path}: computes no tensor '{name}'.{nearest(name, made)} The last ones that it computes are {listed}."
            )
        if name not in there:
            model.graph.output.add().name = name


def _run(session: Any, named: Mapping[str, np.ndarray], path: Path) -> dict[str, Tensor]:
    names = [one.name for one in session.get_outputs()]
    try:
        return {name: torch.from_numpy(array) for name, array in zip(names, session.run(None, dict(named)), strict=True)}
    except Exception as error:  # onnxruntime's own exceptions have no common parent
        raise InputError(f"{path} cannot be run by onnxruntime: {error}") from None


def _sizes(value: Any) -> tuple[int | None, ...]:
    return tuple(size.dim_value if size.dim_value > 0 else None for size in value.type.tensor_type.shape.dim)  # some write -1


def _products_of(node: Any, shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the multiply–accumulates of a node, from the shapes of its factors and of its first output."""
    first, second, *recurrent = (shapes[node.input[place]] for place in _PRODUCTS[node.op_type])
    if recurrent:  # [steps, batch, inputs], weights [directions, gates, inputs] and recurrent ones
        steps, batch = first[:2]
        return steps * batch * (prod(second) + prod(recurrent[0]))
    if node.op_type == "ConvTranspose":  # weights [in, out / groups, *kernel]
        return prod(first) * prod(second[1:])
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):  # weights [out, in / groups, *kernel]
        return prod(shapes[node.output[0]]) * prod(second[1:])
    is_turned = any(one.name == "transA" and one.i for one in node.attribute)
    return prod(shapes[node.output[0]]) * first[0 if is_turned else -1]
