"""An exponential moving average of a network's weights: a better network than the last step's, at nearly no cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of every floating parameter and buffer, `decay` a step (Polyak and Juditsky, 1992; Tarvainen, 2017).

    The first steps are averaged over fewer of them, min(decay, (1 + t) / (10 + t)), so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: tensor.clone() for name, tensor in _floating(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights of one more step into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.weights.values()), list(_floating(model).values()), 1 - decay)

    def put_into(self, model: nn.Module) -> None:
        """Give the average to `model`."""
        _copy(self.weights, model)

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Give the average to `model` for the time of a block."""
        own = {name: tensor.clone() for name, tensor in _floating(model).items()}
        self.put_into(model)
        try:
            yield
        finally:
            _copy(own, model)

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs."""
        return {**{name: tensor.clone() for name, tensor in self.weights.items()}, "": torch.tensor(self.steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self.steps = int(state[""])
        self.weights = {name: tensor.clone() for name, tensor in state.items() if name}


def _floating(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@torch.no_grad()
def _copy(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    for name, tensor in _floating(model).items():
        tensor.copy_(weights[name])
