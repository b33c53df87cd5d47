"""Sparsity methods, one file each: they make a student smaller while it is trained.

A plugin's `build(config, amount)` returns a `Method` for one training. The training loop calls it from the first step to the
candidates that the training ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tutelage.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Point:
    """One candidate: a network that a training ends with.

    `amount` is the share that was removed from it, and `made` describes in a few words how. `surgery` holds, as JSON, what
    `Method.replay` needs to give a new network the same form. It is None if the shapes of the weights determine the form, as
    they do for removed channels. On a ladder, `rung` is the candidate's number; 0 is the whole network.
    """

    model: nn.Module
    amount: float = 0.0
    made: str = ""
    surgery: Mapping[str, Any] | None = None
    rung: int | None = None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The data of a training with which a method may measure the network.

    `arguments` are the network's arguments for two examples, on its device. `steps` is the number of steps of the whole
    training, `rates` the sum of the learning rates of the steps before the first removal, and `seed` the training's seed.
    `batches(count)` gives the arguments of up to `count` training batches without augmentation. `losses(count)` gives the
    training loss of up to `count` batches of the network in training, each a scalar with a gradient. `loss_of(model)` gives the
    mean label loss of any network on the guard's decision half of validation, or on training examples if there is no guard.
    `latency_ms(model)` measures a network on this machine, in the form that is exported.
    """

    arguments: tuple[Tensor, ...]
    steps: int = 1
    rates: float = 1.0
    seed: int = 0
    batches: Callable[[int], Iterable[tuple[Tensor, ...]]] = lambda count: ()
    losses: Callable[[int], Iterable[Tensor]] = lambda count: ()
    loss_of: Callable[[nn.Module], float] = lambda model: 0.0
    latency_ms: Callable[[nn.Module], float] = lambda model: 0.0


class Method:
    """One sparsity method in one training; by default it changes nothing.

    The order of calls is `start`, then `penalty` and `after_step` at every step, `remove` before each of the `recoveries`, and
    `finish`.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount

    @property
    def made(self) -> str:
        """A few words on how the network was made smaller."""
        return ""

    def surgery(self) -> Mapping[str, Any] | None:
        """Return the `surgery` of a `Point` with the present network."""
        return None

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the number of epochs after each call of `remove`, in order; their sum is less than the training's `epochs`."""
        return ()

    def for_ladder(self) -> Method:
        """Return this method for use in a ladder: only `remove` removes anything, and it is called again after a recovery.

        `amount` is set before each call, to a larger share of the whole network. Raises `InputError` with the reason if the
        method cannot remove further from what it returned.
        """
        raise InputError("it does not remove at one moment of a training. Use another method, or omit sparsity.ladder.")

    def sandwich(self, amounts: Sequence[float], recovery_epochs: int) -> Method:
        """Return a ladder of these amounts by the sandwich rule: the channels are ordered once, and all rungs share weights.

        Raises `InputError` with the reason if the method has no such order.
        """
        raise InputError(
            "the sandwich rule orders the channels of the whole network once. Take channels or spr with allocation: uniform or "
            "sensitivity and without thresholds, amounts, heads and blocks, or omit sparsity.ladder.sandwich."
        )

    def reopen(self, model: nn.Module) -> nn.Module:
        """Return `model` in a form from which an earlier stage of `composed` can remove more.

        Factors become one layer, and masks are discarded. Each rung of a ladder calls this before `remove`.
        """
        return model

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return the untrained `model` in the size of the first candidate; None if training decides the size.

        `arguments` are the network's arguments for two examples; both may be on the meta device. Raises `InputError` for a
        network that the method cannot make smaller, even if training decides the size.
        """
        return None

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network that is trained, before its first step."""
        return model

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the term that is added to a step's loss, a scalar; None adds nothing."""
        return None

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Change the weights after an optimiser's step of the learning rate `rate`, such as by a mask or a proximal step."""

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network made smaller, still trainable; a fresh optimiser continues with it."""
        return model

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the candidates of the training, at least one.

        The config specifies the first candidate of the highest rung, or the first one if there are no rungs; `presized` returns
        a network of its size.
        """
        return [Point(model=model, amount=self.amount, made=self.made, surgery=self.surgery())]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs beside the weights, as tensors, numbers, strings and containers of these."""
        return {}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Restore `state`; return `model`, which `start` returned, in the form of the saved network.

        Its weights are loaded later.
        """
        return model

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model`, maybe on the meta device, in the form of the `Point` that has this `surgery`."""
        return model
