"""Shared code of the methods that remove something at one moment of a training: the moment, and the saved state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field
from torch import nn

from tutelage.plugins import PluginConfig
from tutelage.sparsity import Calibration, Method, Point

Shapes = dict[str, tuple[int, ...]]


class RemovalConfig(PluginConfig):
    """The option that every such method has."""

    fine_tune_share: float = Field(0.3, ge=0.0, le=0.9, description="share of the student's epochs left for fine-tuning")


class Removal(Method):
    """Removes the share `amount` once, and leaves the last epochs to the smaller network.

    A subclass defines `cut`; `made`; `presized` where the size is known before training; `surgery` and `replay` where the
    shapes of the weights do not give the network's form. It may read `is_cut`, and the shapes of the whole network's weights by
    name in `whole_shapes`, which is empty before the first cut.
    """

    def __init__(self, config: RemovalConfig, amount: float) -> None:
        super().__init__(amount)
        self._share, self.is_cut, self.whole_shapes = config.fine_tune_share, False, Shapes()

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` without the share `amount` of the whole network; it may be changed in place.

        On a ladder it is called again, with a larger `amount` and the network of the earlier call after its recovery.
        """
        raise NotImplementedError

    def for_ladder(self) -> Method:
        """Return the method itself: a ladder cuts again."""
        return self

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the option's share of the epochs, rounded; of several epochs, at least one is on each side of the removal."""
        return (min(max(1, round(self._share * epochs)), epochs - 1),) if epochs > 1 else ()

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` after the cut."""
        if not self.is_cut:
            self.whole_shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        self.is_cut = True
        return self.cut(model, calibration)

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate; a training of a single epoch is cut here."""
        return super().finish(model if self.is_cut else self.remove(model, calibration), calibration)

    def state(self) -> dict[str, Any]:
        """Return whether the network is cut, and the shapes that it had before."""
        return {**super().state(), "is_cut": self.is_cut, "whole_shapes": self.whole_shapes}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` as it is: its layers are cut to the weights' shapes when these are loaded."""
        self.is_cut, self.whole_shapes = bool(state["is_cut"]), dict(state["whole_shapes"])
        return super().restore(model, state)
