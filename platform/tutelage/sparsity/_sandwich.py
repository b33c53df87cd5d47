"""The sandwich rule: the rungs of a ladder recover together, with shared weights (Yu and Huang, US-Nets, 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.sparsity import Calibration, Method, Point
from tutelage.sparsity._narrow import Kept, Narrow, divergence, tensors

RANDOM = 2  # narrower networks of a step beside the narrowest


class Sandwich(Method):
    """A ladder whose rungs are parts of one network, with its weights, that recover in one phase.

    After the training of the whole network, its channels are ordered once, and each rung keeps the first of them. Every further
    step trains the whole network as before, and in the same step the narrowest rung and two others, drawn by the seed. Their
    loss is the divergence from the whole network's outputs (Kullback–Leibler, at temperature 1; no labels). At the end each
    rung gets its own weights, and its batch norms are measured again. `order` returns the channels that remain after the
    method's `amount` is removed; those of a larger amount are among those of a smaller one.
    """

    def __init__(
        self, method: Method, order: Callable[[nn.Module, Calibration], Kept], amounts: Sequence[float], recovery_epochs: int
    ) -> None:
        super().__init__(amounts[-1] if amounts else 0.0)
        self._method, self._order, self._amounts, self._epochs = method, order, tuple(amounts), recovery_epochs
        self._rungs, self._kept, self._made = list[Narrow](), list[Kept](), list[str]()
        self._seen: list[Any] = []  # arguments and outputs of the whole network in this step
        self._steps, self._calibration = 0, Calibration(arguments=())

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs of all rungs together."""
        return (self._epochs * len(self._amounts),) if self._amounts else ()

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return the untrained `model` in the size of the last rung; None if training decides the size."""
        self._method.amount = self.amount
        return self._method.presized(model, arguments) if self._amounts else model

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network that the method trains."""
        self._calibration = calibration
        return self._method.start(model, calibration)

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Change the weights as the method does, before the rungs."""
        if not self._rungs:
            self._method.after_step(model, rate)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the method's penalty; with rungs, the divergence of this step's narrower networks from the whole one."""
        if not self._rungs:
            return self._method.penalty(model)
        arguments, outputs = self._seen[-1]
        self._seen.clear()
        target = [one.detach() for one in tensors(outputs)]
        return torch.stack([divergence(target, one.outputs(model, arguments), arguments) for one in self._drawn()]).sum()

    def _drawn(self) -> list[Narrow]:
        """Return the rungs of this step: the narrowest and up to two others, drawn by the seed and the step."""
        self._steps += 1
        generator = torch.Generator().manual_seed(self._calibration.seed * 1_000_003 + self._steps)
        others = torch.randperm(len(self._rungs) - 1, generator=generator)[:RANDOM].tolist()
        return [self._rungs[-1], *(self._rungs[place] for place in others)]

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model`, whole: its channels are ordered, and the rungs read its weights from now on."""
        self._calibration = calibration  # since the start, the training may have moved to another device
        for amount in self._amounts:
            self._method.amount = amount
            self._kept.append(self._order(model, calibration))
            self._made.append(self._method.made)
        self._grow(model)
        return model

    def _grow(self, whole: nn.Module) -> None:
        """Make the rungs, and store what the whole network computes in each training step."""
        seen = self._seen

        def remember(module: nn.Module, arguments: tuple[Tensor, ...], outputs: Any) -> None:
            if module.training:
                seen[:] = [(arguments, outputs)]

        self._rungs = [Narrow(whole, kept, self._calibration) for kept in self._kept]
        self._hook = whole.register_forward_hook(remember)

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the candidates from the whole network to the narrowest."""
        if not self._amounts:
            return [Point(model=model, made="whole", rung=0)]
        if not self._rungs:  # a training of one epoch
            self.remove(model, calibration)
        self._hook.remove()
        whole = Point(model=model, made="whole", rung=0)
        return [whole, *(self._point(rung, one, model, calibration) for rung, one in enumerate(self._rungs, start=1))]

    def _point(self, rung: int, one: Narrow, whole: nn.Module, calibration: Calibration) -> Point:
        made = f"{self._made[rung - 1]}, sandwich rule"
        return Point(model=one.by_itself(whole, calibration).eval(), amount=self._amounts[rung - 1], made=made, rung=rung)

    def state(self) -> dict[str, Any]:
        """Return the method's state, the channels of the rungs, and the number of steps with them."""
        return {"method": self._method.state(), "kept": self._kept, "made": self._made, "steps": self._steps}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Restore the state; return `model`, whole."""
        self._kept, self._made, self._steps = copy.deepcopy(state["kept"]), list(state["made"]), int(state["steps"])
        model = self._method.restore(model, state["method"])
        if self._kept:
            self._grow(model)
        return model
