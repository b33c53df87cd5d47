"""Hidden units of recurrent layers (LSTM, GRU, plain) are removed, with all that reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tutelage.errors import InputError
from tutelage.networks import forward
from tutelage.plugins import PluginConfig
from tutelage.sparsity import Calibration, Method, Point, recovery_epochs
from tutelage.sparsity._readers import Unremovable
from tutelage.sparsity._recurrent import Recurrent, cells, recurrent, shrink

SPACE: dict[str, dict[str, object]] = {}

_WAY_OUT = "Take another sparsity method, or set sparsity.amount: 0."
CLOSE = 1e-4  # of the largest output: what another order of floating-point sums may change


class Config(PluginConfig):
    """Which units are removed, and how long the rest is trained afterwards."""

    score: Literal["norm", "random"] = Field(
        "norm",
        description="what makes a unit important. norm: of all its weights: the rows of its gates, its columns in the next "
        "step, the next layer and in what reads the outputs; random: a draw by the seed, the control of every other score",
    )
    fine_tune_share: float = Field(0.3, ge=0.0, le=0.9, description="share of the student's epochs left for fine-tuning")


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the hidden units of each recurrent layer."""
    return Units(config, amount)


class Units(Method):
    """Removes the units once, and leaves the last epochs to the smaller network."""

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(amount)
        self._config, self._sizes = config, dict[str, int]()

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after the removal."""
        return recovery_epochs(self._config.fine_tune_share, epochs)

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module:
        """Return `model` with its units removed: the trained weights decide which they are, not how many."""
        return Units(self._config, self.amount).remove(model, Calibration(arguments=arguments))

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weakest units removed, in place."""
        self._sizes = remove_units(self._config, model, calibration, self.amount)
        return model

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate; a training of a single epoch loses its units here."""
        smaller = model if self._sizes else self.remove(model, calibration)
        made = f"hidden units by {self._config.score}"
        return [Point(model=smaller, amount=self.amount, made=made, surgery={"units": self._sizes})]

    def state(self) -> dict[str, Any]:
        """Return the number of units by layer; none before the removal."""
        return {"units": self._sizes}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` with the layers that lost units."""
        self._sizes = dict(state["units"])
        return self.replay(model, state)

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model` with these numbers of units; what reads them is cut when its weights are loaded."""
        for name, size in surgery["units"].items():
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.RNNBase), name
            shrink(layer, [torch.arange(size) for _ in cells(layer)])
        return model


def remove_units(config: Config, model: nn.Module, calibration: Calibration, share: float) -> dict[str, int]:
    """Remove `share` (0 to 0.95) of the units of each recurrent layer, in place; return by layer how many stay, at least 1.

    All layers and directions of an `nn.LSTM` or `nn.GRU` have the same number of units, so each loses the same number. Raises
    `InputError` for a network in which no layer can lose units, with the reason for each.
    """
    generator, sizes, reasons = torch.Generator().manual_seed(calibration.seed), dict[str, int](), dict[str, str]()
    for name in [name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]:
        try:
            one = recurrent(model, calibration.arguments, name)
        except Unremovable as error:
            reasons[name] = str(error)
            continue
        scores = one.squares() if config.score == "norm" else torch.rand(one.squares().shape, generator=generator)
        kept = [_strongest(own, share) for own in scores]
        _remove_checked(model, one, kept, calibration.arguments)
        sizes[name] = one.layer.hidden_size
    if not sizes:
        why = "; ".join(f"'{name}' {reason}" for name, reason in reasons.items()) or "it has no LSTM, GRU or RNN"
        raise InputError(f"sparsity.method units: no hidden units of this network can be removed: {why}. {_WAY_OUT}")
    return sizes


def _strongest(scores: Tensor, share: float) -> Tensor:
    """Return which units stay, sorted: all but the share with the lowest scores, and of equal scores the later ones."""
    return scores.argsort(stable=True)[int(share * len(scores)) :].sort().values


def _remove_checked(model: nn.Module, one: Recurrent, kept: list[Tensor], arguments: tuple[Tensor, ...]) -> None:
    """Remove the other units than those `kept`. Raises `InputError` if the outputs are not those with the units at zero."""
    one.silence(kept)
    expected = _outputs(model, arguments)
    one.remove(kept)
    try:
        found = _outputs(model, arguments)
    except InputError as error:
        raise InputError(f"sparsity.method units: without units of '{one.name}', {error} {_WAY_OUT}") from error
    for left, right in zip(expected, found, strict=True):
        if left.shape != right.shape or not torch.allclose(left, right, atol=CLOSE * max(1.0, float(left.abs().max())), rtol=0):
            raise InputError(f"sparsity.method units: code in this network depends on the units of '{one.name}'. {_WAY_OUT}")


def _outputs(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[Tensor]:
    return [one.float() for one in tree_leaves(forward.run(model, arguments)) if isinstance(one, Tensor)]
