"""Narrower networks that share the weights of a whole one: each of their weights is a part of the whole network's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from tutelage.errors import InputError
from tutelage.sparsity import Calibration
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES, recalibrate
from tutelage.sparsity._coupled import CoupledGroup
from tutelage.sparsity._kept_channels import UNSHARED, keep_channels
from tutelage.sparsity._tracing import groups

Kept = dict[str, list[int]]  # the channels that stay, by the first layer of their coupled group


class Narrow:
    """A network with the channels `kept` of a whole one, whose weights it reads at every call."""

    def __init__(self, whole: nn.Module, kept: Kept, calibration: Calibration) -> None:
        """Raises `InputError` if a narrower weight is no part of the whole one, as in grouped convolutions."""
        widths = {name: group.width for group in groups(whole, calibration.arguments) for name in group.layers & kept.keys()}
        stays = {name: torch.isin(torch.arange(widths[name]), torch.tensor(kept[name])) for name in kept}
        scores, counts = {name: one.float() for name, one in stays.items()}, {name: len(one) for name, one in kept.items()}
        self._parts = _parts(groups(whole, calibration.arguments), stays, dict(whole.named_parameters()))
        self.network = keep_channels(copy.deepcopy(whole), calibration, scores, counts).train()
        own = dict(self.network.named_parameters())
        if any(not torch.equal(own[name], weight) for name, weight in self._weights(whole).items()):
            raise InputError(UNSHARED)

    def outputs(self, whole: nn.Module, arguments: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the outputs in training, with gradients to the weights of `whole`."""
        self.network.to(arguments[0].device)  # its buffers
        return tensors(functional_call(self.network, self._weights(whole), arguments))

    def by_itself(self, whole: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network with weights of its own, equal to those of `whole`; its batch norms are measured again."""
        with torch.no_grad():
            for name, weight in self._weights(whole).items():
                self.network.get_parameter(name).copy_(weight)
        recalibrate(self.network, calibration.batches(RECALIBRATION_BATCHES))
        return self.network

    def _weights(self, whole: nn.Module) -> dict[str, Tensor]:
        found: dict[str, Tensor] = dict(whole.named_parameters())
        for (name, axis), index in self._parts.items():
            found[name] = found[name].index_select(axis, index.to(found[name].device))
        return found


def _parts(
    found: Sequence[CoupledGroup], stays: Mapping[str, Tensor], whole: Mapping[str, Tensor]
) -> dict[tuple[str, int], Tensor]:
    """Return the positions that stay along each axis of each parameter that becomes narrower."""
    masks: dict[tuple[str, int], Tensor] = {}
    for group in found:
        own = next((stays[name] for name in group.layers if name in stays), None)
        for one in group.slices if own is not None else ():
            mask = masks.setdefault(
                (one.parameter, one.axis), torch.ones(whole[one.parameter].shape[one.axis], dtype=torch.bool)
            )
            mask[one.index[~own[one.channel]]] = False  # type: ignore[index]
    return {place: mask.nonzero().flatten() for place, mask in masks.items()}


def tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors of a network's outputs in their order."""
    return [one for one in tree_leaves(outputs) if isinstance(one, Tensor)]


def divergence(whole: Sequence[Tensor], narrow: Sequence[Tensor], arguments: tuple[Tensor, ...]) -> Tensor:
    """Return the mean over real steps of KL(whole ‖ narrow) in nats, summed over the outputs `[batch, (steps,) classes]`.

    A step is real where a mask `[batch, steps]` among the arguments is True; without a mask, all steps are real.
    """
    total = torch.zeros((), device=narrow[0].device)
    for left, right in zip(whole, narrow, strict=True):
        each = functional.kl_div(right.log_softmax(-1), left.log_softmax(-1), reduction="none", log_target=True).sum(dim=-1)
        masks = (one for one in arguments if one.dtype == torch.bool and one.shape == each.shape)
        mask = next(masks, torch.ones_like(each, dtype=torch.bool))
        total = total + each.where(mask, 0.0).sum() / mask.sum().clamp(min=1)
    return total
