"""Hidden units of recurrent layers (LSTM, GRU, plain) are removed, with the weights that read them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._allocation import ALLOCATION, Allocated, AllocationConfig
from tutelage.sparsity._equal_outputs import equal_outputs, outputs_of
from tutelage.sparsity._readers import WAY_OUT, Unremovable
from tutelage.sparsity._recurrent import Recurrent, cells, recurrent, shrink

Score = Literal["norm", "random"]
KIND = "structure"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {}


class Config(AllocationConfig):
    """Which units are removed, and how long the rest is trained afterwards."""

    allocation: Literal["uniform", "sensitivity"] = Field("uniform", description=ALLOCATION)

    score: Score = Field(
        "norm",
        description="what makes a unit important. norm: of all its weights: the rows of its gates, its columns in the next "
        "step, the next layer and in what reads the outputs; random: numbers drawn by the seed, a control for the other scores",
    )


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the hidden units of each recurrent layer."""
    return Units(config, amount)


class Units(Allocated):
    """Removes hidden units of every recurrent layer that can lose some."""

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._config, self._sizes = config, dict[str, int]()

    @property
    def made(self) -> str:
        """The score that chose the units."""
        return f"hidden units by {self._config.score}{self.allocated}"

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return `model` in its size after the removal; None with allocation: sensitivity, where training decides it."""
        uniform = self._config.model_copy(update={"allocation": "uniform"})
        smaller = Units(uniform, self.amount).remove(copy.deepcopy(model), Calibration(arguments=arguments))
        return None if self.order is not None else smaller

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is. Raises `InputError` for `amounts` of a layer that is not recurrent."""
        self.check_amounts([{name} for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)])
        return model

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weakest units removed, in place."""
        whole = {name.removesuffix(".weight_hh_l0"): shape[1] for name, shape in self.whole_shapes.items() if _is_first(name)}
        goals = {name: size - int(self.share_of(name) * size) for name, size in whole.items()}
        if self.order is not None:
            goals = self._by_order(model, calibration)
        self._sizes = remove_units(self._config.score, model, calibration, goals)
        return model

    def _by_order(self, model: nn.Module, calibration: Calibration) -> dict[str, int]:
        def cut(network: nn.Module, kept: Mapping[str, int]) -> nn.Module:
            remove_units(self._config.score, network, calibration, kept)
            return network

        present = {name: layer.hidden_size for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)}
        removable = remove_units(self._config.score, copy.deepcopy(model), calibration, present)
        kept = self.kept(model, removable, cut, calibration)
        return {**present, **kept}

    def surgery(self) -> Mapping[str, Any]:
        """Return the number of units by layer."""
        return {"units": self._sizes}

    def state(self) -> dict[str, Any]:
        """Return what the base needs, and the number of units by layer."""
        return {**super().state(), **self.surgery()}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` with the layers that lost units."""
        self._sizes = dict(state["units"])
        return self.replay(super().restore(model, state), state)

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model` with these numbers of units; what reads them is cut when its weights are loaded."""
        for name, size in surgery["units"].items():
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.RNNBase), name
            shrink(layer, [torch.arange(size) for _ in cells(layer)])
        return model


def _is_first(name: str) -> bool:
    return name.endswith("weight_hh_l0")


def remove_units(score: Score, model: nn.Module, calibration: Calibration, goals: Mapping[str, int]) -> dict[str, int]:
    """Reduce each recurrent layer to its number of units in `goals`, in place; return the new numbers by layer.

    All layers and directions of an `nn.LSTM` or `nn.GRU` have the same number of units, so each loses the same number. Raises
    `InputError` for a network in which no layer can lose units, with the reason for each.
    """
    generator, sizes, reasons = torch.Generator().manual_seed(calibration.seed), dict[str, int](), dict[str, str]()
    for name in [name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]:
        if name not in goals:
            continue
        try:
            one = recurrent(model, calibration.arguments, name)
        except Unremovable as error:
            reasons[name] = str(error)
            continue
        squares = one.squares()
        scores = squares if score == "norm" else torch.rand(squares.shape, generator=generator)
        _remove_checked(model, one, [_strongest(own, goals[name]) for own in scores], calibration.arguments)
        sizes[name] = one.layer.hidden_size
    if not sizes:
        why = "; ".join(f"'{name}' {reason}" for name, reason in reasons.items()) or "it has no LSTM, GRU or RNN"
        raise InputError(f"sparsity.method units: no hidden units of this network can be removed: {why}. {WAY_OUT}")
    return sizes


def _strongest(scores: Tensor, count: int) -> Tensor:
    """Return the `count` units that are kept, sorted: those with the highest scores; of equal scores, the later ones."""
    return scores.argsort(stable=True)[-count:].sort().values


def _remove_checked(model: nn.Module, one: Recurrent, kept: list[Tensor], arguments: tuple[Tensor, ...]) -> None:
    """Keep only the units `kept`. Raises `InputError` if the outputs differ from those with the other units at zero."""
    one.silence(kept)
    expected = outputs_of(model, arguments)
    one.remove(kept)
    try:
        outputs_of(model, arguments)
    except InputError as error:
        raise InputError(f"sparsity.method units: without units of '{one.name}', {error} {WAY_OUT}") from error
    if not equal_outputs(model, arguments, expected):
        raise InputError(f"sparsity.method units: code in this network depends on the units of '{one.name}'. {WAY_OUT}")
