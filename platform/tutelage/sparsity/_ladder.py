"""A ladder: a method removes increasing shares from one network, and each rung is a candidate."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from tutelage.networks import weights
from tutelage.sparsity import Calibration, Method, Point
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES, recalibrate


class Ladder(Method):
    """A method that removes the growing `amounts` one after the other, each followed by `recovery_epochs`.

    Every rung is cut from the recovered network of the rung before. The candidates are the whole network, of rung 0, and
    those of all amounts. After each removal, batch norms are measured again. Without amounts, nothing is removed, and the
    network is trained as the whole network of a ladder is. Raises `InputError` for a method that cannot remove twice.
    """

    def __init__(self, method: Method, amounts: Sequence[float], recovery_epochs: int) -> None:
        super().__init__(amounts[-1] if amounts else 0.0)
        self._method, self._amounts, self._recovery_epochs = method.for_ladder(), tuple(amounts), recovery_epochs
        self._kept: list[Point] = []

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after each removal."""
        return (self._recovery_epochs,) * len(self._amounts)

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return the untrained `model` in the size of the last rung; None if training decides the size."""
        self._method.amount = self.amount
        return self._method.presized(model, arguments) if self._amounts else model

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network that the method trains."""
        return self._method.start(model, calibration)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the method's penalty."""
        return self._method.penalty(model)

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Change the weights as the method does."""
        self._method.after_step(model, rate)

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Keep a copy of `model`, the network of this rung; return the next rung's, with batch norms measured again."""
        rung = self._rung(model, calibration)
        self._kept.append(replace(rung, model=copy.deepcopy(rung.model)))
        self._method.amount = self._amounts[len(self._kept) - 1]
        smaller = self._method.remove(model, calibration)
        recalibrate(smaller, calibration.batches(RECALIBRATION_BATCHES))
        return smaller

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the candidates from the whole network to the smallest."""
        return [*self._kept, self._rung(model, calibration)]

    def _rung(self, model: nn.Module, calibration: Calibration) -> Point:
        """Return `model`, trained to the end of a rung, as this rung's candidate."""
        if not self._kept:
            return Point(model=model, made="whole", rung=0)
        point = self._method.finish(model, calibration)[0]
        surgery = copy.deepcopy(point.surgery)  # the method may change its surgery at the next rung
        return replace(point, amount=self._amounts[len(self._kept) - 1], surgery=surgery, rung=len(self._kept))

    def state(self) -> dict[str, Any]:
        """Return the method's state, and the finished rungs with their weights."""
        kept = [
            {"weights": dict(one.model.state_dict()), "amount": one.amount, "made": one.made, "surgery": one.surgery}
            for one in self._kept
        ]
        return {"method": self._method.state(), "kept": kept}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Restore the state; return `model` in the form of the rung that is trained."""
        self._kept = [self._restored(copy.deepcopy(model), rung, one) for rung, one in enumerate(state["kept"])]
        if self._kept:
            self._method.amount = self._amounts[len(self._kept) - 1]
        return self._method.restore(model, state["method"])

    def _restored(self, model: nn.Module, rung: int, kept: Mapping[str, Any]) -> Point:
        surgery = kept["surgery"]
        formed = self._method.replay(model, surgery) if surgery is not None else model
        network = weights.load(formed, kept["weights"])
        return Point(model=network, amount=kept["amount"], made=kept["made"], surgery=surgery, rung=rung)
