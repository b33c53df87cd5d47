"""Hidden units of recurrent layers, physically removed: their gates, recurrent columns, and the columns that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.rnn import PackedSequence

from tutelage.networks import weights
from tutelage.sparsity._readers import Reader, Unremovable, axis_of, readers

_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_SIZES = {nn.Linear: "in_features", nn.RNNBase: "input_size", _BatchNorm: "num_features", _ConvNd: "in_channels"}


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """A recurrent layer by its name, and the layers that read its outputs.

    Its units are counted over its cells: layer after layer, forward before backward, `hidden_size` each.
    """

    name: str
    layer: nn.RNNBase
    readers: tuple[Reader, ...]

    @property
    def cells(self) -> list[str]:
        """The endings of the names of each cell's weights: `_l0`, `_l0_reverse`, `_l1`, …"""
        return cells(self.layer)

    def squares(self) -> Tensor:
        """Return the sum of the squares of all weights of each unit, `[cells, hidden_size]`.

        These are its gates, its columns in the next step and the next layer, and its columns in the layers that read it.
        """
        layer, units, directions = self.layer, self.layer.hidden_size, _directions(self.layer)
        found = torch.zeros(len(self.cells), units)
        for cell, ending in enumerate(self.cells):
            for part in _parts(layer):
                weight = _weight(layer, part, ending)
                found[cell] += _squares(weight.view(-1, units, weight.numel() // len(weight)).transpose(0, 1))
            found[cell] += _squares(_weight(layer, "weight_hh", ending).T)
            if cell >= directions:
                first = cell - cell % directions - directions
                found[first : first + directions] += _squares(_weight(layer, "weight_ih", ending).T).view(directions, units)
        for reader in self.readers:
            is_unit = reader.units >= 0
            if not isinstance(reader.layer, _BatchNorm):
                found.view(-1).index_add_(0, reader.units[is_unit], _squares(_matrix(reader.layer))[is_unit])
        return found

    def remove(self, kept: Sequence[Tensor]) -> None:
        """Keep only the units `kept` of each cell (sorted, equally many), in place."""
        units = self.layer.hidden_size
        stays = torch.zeros(len(kept) * units, dtype=torch.bool)
        for cell, own in enumerate(kept):
            stays[cell * units + own] = True
        for reader in self.readers:
            _narrow(reader.layer, ((reader.units < 0) | stays[reader.units.clamp(min=0)]).nonzero().flatten())
        shrink(self.layer, kept)

    def silence(self, kept: Sequence[Tensor]) -> None:
        """Set the weights of all other units than those `kept` to zero: the units are zero, and all shapes stay."""
        for cell, ending in enumerate(self.cells):
            gone = torch.ones(self.layer.hidden_size, dtype=torch.bool)
            gone[kept[cell]] = False
            with torch.no_grad():
                for part in _parts(self.layer):
                    weight = _weight(self.layer, part, ending)
                    weight.view(-1, len(gone), weight.numel() // len(weight))[:, gone] = 0.0
        for reader in self.readers:  # a batch norm maps 0 to another value
            if isinstance(reader.layer, _BatchNorm):
                _silence_norm(reader, torch.cat([torch.zeros_like(gone).index_fill(0, own, True) for own in kept]))


def _silence_norm(reader: Reader, stays: Tensor) -> None:
    gone = (reader.units >= 0) & ~stays[reader.units.clamp(min=0)]
    with torch.no_grad():
        for tensor in (reader.layer.weight, reader.layer.bias, reader.layer.running_mean):
            if isinstance(tensor, Tensor):
                tensor[gone] = 0.0


def shrink(layer: nn.RNNBase, kept: Sequence[Tensor]) -> None:
    """Keep only the units `kept` of each cell of a layer, in place; the layers that read it are unchanged."""
    units, directions = layer.hidden_size, _directions(layer)
    gates = len(_weight(layer, "weight_hh", "_l0")) // units
    for cell, ending in enumerate(cells(layer)):
        rows = torch.cat([gate * units + kept[cell] for gate in range(gates)])
        for part in _parts(layer):
            _keep(layer, part + ending, 0, rows)
        _keep(layer, f"weight_hh{ending}", 1, kept[cell])
        if cell >= directions:
            before = kept[cell - cell % directions - directions :][:directions]
            _keep(layer, f"weight_ih{ending}", 1, torch.cat([units * n + own for n, own in enumerate(before)]))
    layer.hidden_size = len(kept[0])
    layer.flatten_parameters()


def recurrent(model: nn.Module, arguments: tuple[Tensor, ...], name: str) -> Recurrent:
    """Return the recurrent layer `name` with what reads it. Raises `Unremovable` if it cannot lose units."""
    layer, shared = model.get_submodule(name), weights.shared_names(model)
    assert isinstance(layer, nn.RNNBase), name
    tied = {one.rpartition(".")[0] for one in {*shared, *shared.values()}}
    return Recurrent(name=name, layer=layer, readers=tuple(_readers(model, arguments, name, layer, tied)))


def _readers(model: nn.Module, arguments: tuple[Tensor, ...], name: str, layer: nn.RNNBase, tied: set[str]) -> list[Reader]:
    if layer.proj_size:
        raise Unremovable("projects its outputs (proj_size)")
    if name in tied or hasattr(layer, "parametrizations"):
        raise Unremovable("shares its weights with another layer" if name in tied else "has parametrised weights")
    found = readers(model, arguments, layer, len(cells(layer)) * layer.hidden_size, _filled(layer))
    for one in found:
        if one.name in tied:
            raise Unremovable(f"is read by '{one.name}', which shares its weights with another layer")
    return found


def _filled(layer: nn.RNNBase) -> Any:
    """Return a function that replaces the outputs and states of `layer`; units that are not alive become zero."""
    generator = torch.Generator().manual_seed(0)
    units, directions = layer.hidden_size, _directions(layer)

    def values(like: Tensor, alive: Tensor) -> Tensor:
        places = torch.stack(torch.meshgrid(*(torch.arange(n) for n in like.shape[:-1]), indexing="ij")).sum(dim=0)
        sizes = 0.5 + torch.rand(like.shape[-1], generator=generator.manual_seed(0))
        signs = 1.0 - 2.0 * (places % 2)  # every unit has positive values, which ReLU keeps
        return (signs[..., None] * sizes * (1 + places[..., None] / 7) * alive).to(like)

    def fill(output: Any, alive: Tensor) -> Any:
        sequence, state = output
        by_cell = alive.view(-1, units)
        by_state = by_cell if state_ndim(state) == 2 else by_cell[:, None]
        last = alive[-directions * units :]
        if isinstance(sequence, PackedSequence):
            sequence = sequence._replace(data=values(sequence.data, last))
        else:
            sequence = values(sequence, last)
        states = tuple(values(one, by_state) for one in state) if isinstance(state, tuple) else values(state, by_state)
        return sequence, states

    return fill


def state_ndim(state: Any) -> int:
    """Return the number of axes of a state, or of the hidden state and the cell state of an LSTM."""
    tensor: Tensor = state[0] if isinstance(state, tuple) else state
    return tensor.ndim


def cells(layer: nn.RNNBase) -> list[str]:
    """Return the endings of the names of each cell's weights."""
    return [f"_l{n}{way}" for n in range(layer.num_layers) for way in ("", "_reverse")[: _directions(layer)]]


def _directions(layer: nn.RNNBase) -> int:
    return 2 if layer.bidirectional else 1


def _weight(layer: nn.RNNBase, part: str, ending: str) -> Tensor:
    return layer.get_parameter(part + ending).detach()


def _matrix(reader: nn.Module) -> Tensor:
    """Return a reader's weights by input column, `[columns, n]`."""
    if not isinstance(reader, nn.RNNBase):
        return reader.get_parameter("weight").detach().movedim(1, 0).flatten(1)
    return torch.cat([_weight(reader, "weight_ih", ending) for ending in cells(reader)[: _directions(reader)]]).T


def _parts(layer: nn.RNNBase) -> tuple[str, ...]:
    return _PARTS if layer.bias else _PARTS[:2]


def _squares(rows: Tensor) -> Tensor:
    return rows.flatten(1).square().sum(dim=1).cpu()


def _narrow(reader: nn.Module, kept: Tensor) -> None:
    """Keep only the input columns `kept` of a reader, in place."""
    axis_of(reader)
    if isinstance(reader, nn.RNNBase):
        for ending in cells(reader)[: _directions(reader)]:
            _keep(reader, f"weight_ih{ending}", 1, kept)
    elif isinstance(reader, _BatchNorm):
        for name in ("weight", "bias", "running_mean", "running_var"):
            if getattr(reader, name) is not None:
                _keep(reader, name, 0, kept)
    else:
        _keep(reader, "weight", 1, kept)
    for kind, attribute in _SIZES.items():
        if isinstance(reader, kind):
            setattr(reader, attribute, len(kept))


def _keep(layer: nn.Module, name: str, axis: int, index: Tensor) -> None:
    """Replace a parameter or buffer by its parts at `index` along `axis`."""
    tensor = getattr(layer, name)
    part = tensor.detach().index_select(axis, index.to(tensor.device)).contiguous()
    setattr(layer, name, nn.Parameter(part, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else part)
