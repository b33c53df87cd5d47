"""Several methods on one student, in one order: structures are removed, layers become of low rank, weights become zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator
from torch import Tensor, nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.plugins import PluginConfig, Reference
from tutelage.sparsity import Calibration, Method, Point, movement

SPACE: dict[str, dict[str, object]] = {}
KINDS = ("structure", "low_rank", "unstructured")
LATER = {  # why a kind of method cannot follow a later one
    "structure": "it would remove channels of factors, or weights that a mask has chosen",
    "low_rank": "a product of two layers has no zeros",
}


class Config(PluginConfig):
    """The methods, in their order."""

    stages: list[Reference] = Field(
        min_length=1,
        max_length=8,
        description="sparsity plugins: first those that remove structures (channels, spr, heads, units), then low_rank, then "
        "one that sets single weights to zero (magnitude, movement, n_m). The option amount of each is the share that it "
        "removes of what those before it left, by default sparsity.amount; with 0 it is left out",
    )

    @field_validator("stages")
    @classmethod
    def _in_order(cls, stages: list[Reference]) -> list[Reference]:
        try:
            kinds = [(name, _kind_of(name, plugin)) for name, plugin, *_ in map(_configured, stages)]
        except InputError as error:
            raise ValueError(str(error)) from None
        for number, (name, kind) in enumerate(kinds):
            for before, earlier in kinds[:number]:
                if why := _conflict(name, kind, before, earlier):
                    raise ValueError(f"{name} cannot come after {before}: {why}.")
        return stages


def _conflict(name: str, kind: str, before: str, earlier: str) -> str:
    """Return why a method cannot come after another one; "" if it can."""
    if KINDS.index(kind) < KINDS.index(earlier):
        return f"{LATER[kind]}. The order is {', '.join(KINDS)}"
    is_second = name == before or (kind == earlier != "structure")
    return "the second one would count what the first one removed. Take one of them" if is_second else ""


def build(config: Config, amount: float) -> Method:
    """Return the method that applies the stages in order; a stage without an amount of its own removes `amount`."""
    found = [(_kind_of(name, plugin), plugin, options, own) for name, plugin, options, own in map(_configured, config.stages)]
    shares = [amount if own is None else own for *_, own in found]
    return Composed(
        [
            (kind, plugin.build(options, share))
            for (kind, plugin, options, _), share in zip(found, shares, strict=True)
            if share
        ],
        amount,
    )


def _configured(stage: Reference) -> tuple[str, Any, Any, float | None]:
    """Return a stage's name, plugin, checked options, and its own amount. Raises `InputError`."""
    name, options = plugins.parse_reference(stage)
    amount = options.pop("amount", None)
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if amount is not None and not (is_number and 0 <= amount <= 0.95):
        raise InputError(f"{name}: amount {amount!r} is not a number from 0 to 0.95.")
    return (*plugins.configure("sparsity", {name: options}), amount)


def _kind_of(name: str, plugin: Any) -> str:
    """Return a plugin's kind. Raises `InputError` for one that has none."""
    kind = getattr(plugin, "KIND", None)
    if kind not in KINDS:
        raise InputError(f"{name} cannot be composed: it has no KIND. Give your plugin KIND = {' or '.join(map(repr, KINDS))}.")
    return str(kind)


class Composed(Method):
    """Applies several methods, its stages. All remove at one moment, in order, before the longest of their recoveries.

    A stage that sets single weights to zero starts after the removal of the others, so that the shares of steps in its options
    are of the recovery; with no other stage it starts with the training.

    On a ladder, each rung first restores whole layers for the earlier stages: factors are multiplied and masks discarded. Then
    every stage removes the rung's amount, and at most its own.
    """

    def __init__(self, stages: Sequence[tuple[str, Method]], amount: float) -> None:
        super().__init__(amount)
        self._kinds, self._shares = [kind for kind, _ in stages], [stage.amount for _, stage in stages]
        self._put([stage for _, stage in stages])
        self._has_rungs = False
        self._step, self._later_from = 0, -1  # the step after which the later stages started; -1 before it
        self._calibration: Calibration | None = None

    def _put(self, stages: Sequence[Method]) -> None:
        self._stages, pairs = list(stages), list(zip(self._kinds, stages, strict=True))
        self._first = [stage for kind, stage in pairs if kind != "unstructured"] or self._stages
        self._later = [stage for stage in self._stages if stage not in self._first]

    @property
    def made(self) -> str:
        """What the stages removed."""
        return ", then ".join(stage.made for stage in self._stages)

    def surgery(self) -> Mapping[str, Any] | None:
        """Return the surgeries of the stages; None if none has any."""
        found = [stage.surgery() for stage in self._stages]
        return {"stages": found} if any(one is not None for one in found) else None

    def recoveries(self, epochs: int) -> tuple[int, ...]:
        """Return the longest recovery of the stages. Raises `InputError` for a stage that removes more than once."""
        found = [stage.recoveries(epochs) for stage in self._stages]
        if any(len(one) > 1 for one in found):
            raise InputError(
                "sparsity.method composed: a stage removes something several times in a training. It must remove once."
            )
        longest = max((one[0] for one in found if one), default=0)
        return (longest,) if longest else ()

    def for_ladder(self) -> Method:
        """Return the method itself. Raises `InputError` for a stage that has no ladder here."""
        for stage in self._later:
            if isinstance(stage, movement.Movement):
                raise InputError(
                    "movement sums over weights whose shapes the next rung changes. Take magnitude as the last stage, or leave "
                    "sparsity.ladder out."
                )
        self._put([stage.for_ladder() for stage in self._stages])
        self._has_rungs = True
        return self

    def _share_out(self) -> None:
        """Give each stage the amount of the rung, and at most its own; without rungs it keeps its own."""
        if self._has_rungs:
            for stage, share in zip(self._stages, self._shares, strict=True):
                stage.amount = min(share, self.amount)

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return the untrained `model` after all stages; None if only training decides the size of one."""
        self._share_out()
        is_sized = True
        for stage in self._stages:  # after a stage of unknown size, the next one is checked on the network before it
            smaller = stage.presized(model, arguments)
            is_sized, model = is_sized and smaller is not None, model if smaller is None else smaller
        return model if is_sized else None

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network that is trained, after the start of the first stages."""
        self._calibration = calibration
        for stage in self._first:
            model = stage.start(model, calibration)
        return model

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the sum of the penalties of the stages that started."""
        found = [one for stage in self._active if (one := stage.penalty(model)) is not None]
        return sum(found[1:], start=found[0]) if found else None

    def after_step(self, model: nn.Module, rate: float) -> None:
        """Let each stage that started change the weights."""
        self._step += 1
        for stage in self._active:
            stage.after_step(model, rate)

    def remove(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return the network after the removals of all stages in order."""
        self._share_out()
        if self._has_rungs:
            for stage in reversed(self._stages):
                model = stage.reopen(model)
        model = self._removed(self._first, model, calibration)
        if self._later_from < 0:
            model = self._start_later(model, calibration, self._step)
        return self._removed(self._later, model, calibration)

    def _removed(self, stages: Sequence[Method], model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` after the removals of those stages that remove here; a schedule of `magnitude` does not."""
        for stage in stages:
            if self._has_rungs or stage.recoveries(2):  # of two epochs, one follows a removal
                model = stage.remove(model, calibration)
        return model

    def finish(self, model: nn.Module, calibration: Calibration) -> Sequence[Point]:
        """Return the one candidate. Raises `InputError` for a stage that gives several."""
        for stage in self._stages:
            if stage in self._later and self._later_from < 0:
                model = self._start_later(model, calibration, self._step)
            points = stage.finish(model, calibration)
            if len(points) > 1:
                raise InputError("sparsity.method composed: a stage gives several candidates. It must give one.")
            model = points[0].model
        return super().finish(model, calibration)

    def state(self) -> dict[str, Any]:
        """Return the states of the stages and the steps."""
        states = [stage.state() for stage in self._stages]
        return {**super().state(), "stages": states, "step": self._step, "later_from": self._later_from}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` in the form that all stages gave it."""
        self._share_out()
        self._step, later_from = int(state["step"]), int(state["later_from"])
        assert self._calibration is not None, "a method starts before it is restored"
        for stage, own in zip(self._stages, state["stages"], strict=True):
            if stage in self._later and later_from >= 0 > self._later_from:
                model = self._start_later(model, self._calibration, later_from)
            if stage in self._first or later_from >= 0:
                model = stage.restore(model, own)
        return model

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model` after the surgeries of all stages."""
        for stage, own in zip(self._stages, surgery["stages"], strict=True):
            model = model if own is None else stage.replay(model, own)
        return model

    @property
    def _active(self) -> list[Method]:
        return self._stages if self._later_from >= 0 else self._first

    def _start_later(self, model: nn.Module, calibration: Calibration, step: int) -> nn.Module:
        """Start the later stages, for the steps that are left after `step`."""
        self._later_from = step
        left = replace(calibration, steps=max(1, calibration.steps - step))
        for stage in self._later:
            model = stage.start(model, left)
        return model
