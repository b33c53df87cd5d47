"""Coupled channels: the weights that are removed together with one channel, and their norms (Fang et al., DepGraph, 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch_pruning import DependencyGraph


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The parts of one parameter that belong to channels: position `index` along `axis` belongs to `channel`, `[n]` each.

    With `is_output`, these weights compute the channels; otherwise they read them.
    """

    parameter: str
    axis: int
    index: Tensor
    channel: Tensor
    is_output: bool


@dataclass(frozen=True, kw_only=True)
class CoupledGroup:
    """`width` channels that are removed one by one, each with all its slices."""

    width: int
    slices: tuple[Slice, ...]

    @property
    def layers(self) -> set[str]:
        """The names of the layers whose outputs these channels are."""
        return {one.parameter.rpartition(".")[0] for one in self.slices if one.is_output}

    def norms(self, model: nn.Module) -> Tensor:
        """Return the Euclidean norm of each channel's weights, `[width]`."""
        squares = torch.zeros(self.width, device=self._rows(model, self.slices[0]).device)
        for one in self.slices:
            squares.index_add_(0, one.channel.to(squares.device), self._rows(model, one).square().sum(dim=1))
        return squares.sqrt()

    def scale(self, model: nn.Module, factors: Tensor) -> None:
        """Multiply the weights of each channel by its factor, `[width]`, in place; frozen parameters stay as they are."""
        with torch.no_grad():
            for one in self.slices:
                parameter = model.get_parameter(one.parameter)
                if not parameter.requires_grad:
                    continue
                rows, index = parameter.movedim(one.axis, 0), one.index.to(factors.device)
                own = factors[one.channel.to(factors.device)]
                rows[index] = rows[index] * own.view(-1, *[1] * (rows.ndim - 1))

    @staticmethod
    def _rows(model: nn.Module, one: Slice) -> Tensor:
        weight = model.get_parameter(one.parameter).detach().movedim(one.axis, 0)
        return weight.reshape(len(weight), -1)[one.index.to(weight.device)]


def coupled_groups(
    part: nn.Module, arguments: tuple[Tensor, ...], kept: list[nn.Module], names: Mapping[nn.Module, str]
) -> list[CoupledGroup]:
    """Return the groups of the removable channels of a part of a network; output channels of the layers `kept` are in none.

    `arguments` are those of the part, and `names` are of all modules of the network.
    """
    graph = DependencyGraph().build_dependency(part, example_inputs=arguments)
    found = []
    for group in graph.get_all_groups(ignored_layers=kept):
        slices = tuple(one for item in group.items for one in _slices(item, graph, names))
        if slices:
            found.append(CoupledGroup(width=len(group[0].idxs), slices=slices))
    return found


def _slices(item: Any, graph: DependencyGraph, names: Mapping[nn.Module, str]) -> Iterator[Slice]:
    layer, is_output = item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler)
    if not isinstance(layer, nn.Linear | _ConvNd | _NormBase | nn.GroupNorm | nn.LayerNorm):
        return
    index, channel, name = torch.tensor(item.idxs), torch.tensor(item.root_idxs), names[layer]
    axis = _axis(layer, is_output)
    if axis is not None and layer.weight is not None:
        yield Slice(parameter=f"{name}.weight", axis=axis, index=index, channel=channel, is_output=is_output)
    if is_output and layer.bias is not None:
        yield Slice(parameter=f"{name}.bias", axis=0, index=index, channel=channel, is_output=True)


def _axis(layer: nn.Module, is_output: bool) -> int | None:
    """Return the axis of a layer's weight with its outputs or inputs; None where groups of a convolution share positions."""
    if not isinstance(layer, _ConvNd):
        return 0 if is_output else 1
    if layer.groups == layer.in_channels == layer.out_channels > 1:  # its inputs are its outputs
        return 0 if is_output else None
    axis = int(is_output == layer.transposed)  # the weight of a transposed convolution has its inputs first
    return axis if layer.groups == 1 or axis == 0 else None
