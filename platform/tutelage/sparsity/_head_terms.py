"""The weights of each attention head as a coupled group, so that a penalty covers them together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tutelage.sparsity._attention import LAYOUTS, attention, candidates
from tutelage.sparsity._coupled import CoupledGroup, Slice
from tutelage.sparsity._equal_outputs import equal_outputs, outputs_of
from tutelage.sparsity._readers import Unremovable


def head_terms(model: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[dict[str, CoupledGroup], dict[str, str]]:
    """Return the heads of each attention as a group by the attention's name, and the reasons why other attentions have none.

    A head has its rows of queries, keys and values with their biases, and the columns of the projection that read it.
    """
    found, reasons = dict[str, CoupledGroup](), dict[str, str]()
    for name in list(candidates(model)):
        try:
            found[name] = _term(model, arguments, name)
        except Unremovable as error:
            reasons[name] = str(error)
    return found, reasons


def _term(model: nn.Module, arguments: tuple[Tensor, ...], name: str) -> CoupledGroup:
    module = model.get_submodule(name)
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
            raise Unremovable("has keys or values of another width than its queries, or adds keys (bias_k, add_zero_attn)")
        rows = list(_rows(model, [f"{name}.in_proj_weight", f"{name}.in_proj_bias"], module.num_heads, 3, "parts"))
        return _group(module.num_heads, rows, _columns(model, f"{name}.out_proj.weight", module.num_heads))
    one, names = attention(model, arguments, name), {layer: path for path, layer in model.named_modules()}
    fused, columns = len(one.inputs) == 1, _columns(model, f"{names[one.projection]}.weight", one.num_heads)
    parameters = [f"{names[layer]}.{kind}" for layer in one.inputs for kind in ("weight", "bias")]
    for layout in LAYOUTS if fused else ("parts",):
        rows = list(_rows(model, parameters, one.num_heads, 3 if fused else 1, layout))
        if not fused or _is_layout(model, arguments, _group(one.num_heads, rows), _group(one.num_heads, [], columns)):
            return _group(one.num_heads, rows, columns)
    raise Unremovable("orders the rows of its heads neither by part nor by head")


def _rows(model: nn.Module, parameters: Sequence[str], heads: int, parts: int, layout: str) -> Iterator[Slice]:
    """Yield the rows of the inputs by head; `parts` are queries, keys and values in one layer, or 1."""
    known = dict(model.named_parameters(remove_duplicate=False))
    for parameter in (one for one in parameters if one in known):
        index = torch.arange(len(known[parameter]))
        width = len(index) // parts // heads
        channel = index // width % heads if layout == "parts" else index // (parts * width)
        yield Slice(parameter=parameter, axis=0, index=index, channel=channel, is_output=True)


def _columns(model: nn.Module, parameter: str, heads: int) -> Slice:
    index = torch.arange(model.get_parameter(parameter).shape[1])
    return Slice(parameter=parameter, axis=1, index=index, channel=index // (len(index) // heads), is_output=False)


def _group(heads: int, rows: Sequence[Slice], *columns: Slice) -> CoupledGroup:
    return CoupledGroup(width=heads, slices=(*rows, *columns))


def _is_layout(model: nn.Module, arguments: tuple[Tensor, ...], rows: CoupledGroup, columns: CoupledGroup) -> bool:
    """Return whether the outputs are equal with the rows of the first head at zero and with its columns at zero."""
    factors = torch.ones(rows.width, device=arguments[0].device).index_fill(0, torch.tensor([0], device=arguments[0].device), 0)
    without_rows, without_columns = (copy.deepcopy(model).requires_grad_(True) for _ in range(2))
    rows.scale(without_rows, factors)
    columns.scale(without_columns, factors)
    return equal_outputs(without_rows, arguments, outputs_of(without_columns, arguments))
