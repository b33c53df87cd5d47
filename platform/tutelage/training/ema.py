"""An exponential moving average of a network's weights, which usually generalises better than the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of every floating-point parameter and buffer (Polyak and Juditsky, 1992; Tarvainen and Valpola, 2017).

    The decay of step t is min(decay, (1 + t) / (10 + t)), so that the initial weights have little influence.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: tensor.clone() for name, tensor in _floating(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average with the weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.weights.values()), list(_floating(model).values()), 1 - decay)

    def put_into(self, model: nn.Module) -> None:
        """Copy the average into `model`."""
        _copy(self.weights, model)

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Replace the weights of `model` by the average within a block."""
        own = {name: tensor.clone() for name, tensor in _floating(model).items()}
        self.put_into(model)
        try:
            yield
        finally:
            _copy(own, model)

    def state(self) -> dict[str, Tensor]:
        """Return the state that `restore` needs."""
        return {**{name: tensor.clone() for name, tensor in self.weights.items()}, "": torch.tensor(self.steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from `state`, whose tensors may be on another device than the network."""
        self.steps = int(state[""])
        self.weights = {name: state[name].to(own.device, copy=True) for name, own in self.weights.items()}


def _floating(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@torch.no_grad()
def _copy(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    for name, tensor in _floating(model).items():
        tensor.copy_(weights[name])
