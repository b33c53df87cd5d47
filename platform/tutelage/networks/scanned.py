"""Recurrent layers as loops over a free number of steps, for torch.export, which writes torch's own out step by step.

A graph of torch's own kernel has operations for each step of the example that it was traced with, so it takes no other length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

from tutelage.signature import Signature

Step = Callable[[list[Tensor], Tensor], tuple[list[Tensor], Tensor]]


@contextmanager
def loops() -> Iterator[None]:
    """Within the block, LSTM and GRU layers run as one loop over the steps, in the same arithmetic; there are no gradients."""
    originals = {kind: kind.forward for kind in (nn.LSTM, nn.GRU)}
    try:
        for kind, original in originals.items():
            kind.forward = _looped(original)  # type: ignore[method-assign]
        with torch.no_grad():
            yield
    finally:
        for kind, original in originals.items():
            kind.forward = original  # type: ignore[method-assign]


def loops_for(signature: Signature) -> AbstractContextManager[None]:
    """Return `loops()` where examples differ in length, and a context that changes nothing where they do not."""
    return loops() if any(spec.is_ragged for spec in signature.inputs) else nullcontext()


def _looped(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(layer: Any, given: Any, hx: Any = None) -> Any:
        is_plain = isinstance(given, Tensor) and given.ndim == 3 and not layer.proj_size
        is_inert = not (layer.training and layer.dropout)
        return _run(layer, given, hx) if is_plain and is_inert else original(layer, given, hx)

    return forward


def _run(layer: Any, given: Tensor, hx: Any) -> tuple[Tensor, Any]:
    """Return the output and the last state of an LSTM or GRU, as torch's layer does."""
    features = given.transpose(0, 1) if layer.batch_first else given
    directions = 2 if layer.bidirectional else 1
    states = _states(layer, features, hx, directions)
    last: list[list[Tensor]] = []
    for number in range(layer.num_layers):
        outputs = []
        for direction in range(directions):
            first = [state[number * directions + direction] for state in states]
            ended, output = _direction(layer, features, first, f"l{number}{'_reverse' if direction else ''}")
            last.append(ended)
            outputs.append(output)
        features = torch.cat(outputs, dim=-1)
    ends = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
    return features.transpose(0, 1) if layer.batch_first else features, ends if isinstance(layer, nn.LSTM) else ends[0]


def _states(layer: Any, features: Tensor, hx: Any, directions: int) -> tuple[Tensor, ...]:
    if hx is not None:
        return tuple(hx) if isinstance(layer, nn.LSTM) else (hx,)
    count = 2 if isinstance(layer, nn.LSTM) else 1
    shape = (layer.num_layers * directions, features.shape[1], layer.hidden_size)
    return tuple(features.new_zeros(shape) for _ in range(count))


def _direction(layer: Any, features: Tensor, first: list[Tensor], name: str) -> tuple[list[Tensor], Tensor]:
    """Return the last state and the outputs `[steps, batch, hidden]` of one direction of one layer."""
    weight, bias = getattr(layer, f"weight_hh_{name}"), getattr(layer, f"bias_hh_{name}", None)
    gates = functional.linear(features, getattr(layer, f"weight_ih_{name}"), getattr(layer, f"bias_ih_{name}", None))
    cell: Step = _lstm_step(weight, bias) if isinstance(layer, nn.LSTM) else _gru_step(weight, bias)
    is_reversed = name.endswith("_reverse")
    ended, outputs = scan(cell, first, gates.flip(0) if is_reversed else gates, dim=0)
    return list(ended), outputs.flip(0) if is_reversed else outputs


def _lstm_step(weight: Tensor, bias: Tensor | None) -> Step:
    def step(state: list[Tensor], given: Tensor) -> tuple[list[Tensor], Tensor]:
        hidden, cell = state
        enter, forget, new, leave = (given + functional.linear(hidden, weight, bias)).chunk(4, dim=-1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        return [hidden, cell], hidden.clone()  # a loop's output may not be its state itself

    return step


def _gru_step(weight: Tensor, bias: Tensor | None) -> Step:
    def step(state: list[Tensor], given: Tensor) -> tuple[list[Tensor], Tensor]:
        (hidden,) = state
        reset, update, new = given.chunk(3, dim=-1)
        own_reset, own_update, own_new = functional.linear(hidden, weight, bias).chunk(3, dim=-1)
        share = (update + own_update).sigmoid()
        changed = (new + (reset + own_reset).sigmoid() * own_new).tanh()
        hidden = (1 - share) * changed + share * hidden
        return [hidden], hidden.clone()

    return step
