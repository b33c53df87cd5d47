"""Whole attention heads are removed (Michel, Levy and Neubig, 2019), of transformers with fused or separate projections."""

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
from tutelage.sparsity._attention import Attention, attention, candidates, remove_heads, replay
from tutelage.sparsity._equal_outputs import equal_outputs, outputs_of
from tutelage.sparsity._few_heads import FewHeads
from tutelage.sparsity._readers import WAY_OUT, Unremovable

Score = Literal["norm", "taylor", "random"]
KIND = "structure"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"score": {"choice": ["norm", "taylor"]}}
BATCHES = 8  # of training examples over which the changes of the loss are summed


class Config(AllocationConfig):
    """Which heads are removed, and how long the rest is trained afterwards."""

    allocation: Literal["uniform", "sensitivity"] = Field("uniform", description=ALLOCATION)

    score: Score = Field(
        "norm",
        description="what makes a head important. norm: of all its weights; taylor: change of the loss without it, to first "
        "order, by absolute value over eight batches (Michel et al., 2019); random: numbers drawn by the seed, a control for "
        "the other scores",
    )


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the heads of each attention."""
    return Heads(config, amount)


class Heads(Allocated):
    """Removes the share `amount` of the heads of every attention that can lose some; each keeps at least one."""

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._config = config
        self._whole, self._changes = dict[str, int](), dict[str, dict[str, int]]()

    @property
    def made(self) -> str:
        """The score that chose the heads."""
        return f"attention heads by {self._config.score}{self.allocated}"

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return `model` in its size after the removal; None with allocation: sensitivity, where training decides it."""
        by_norm = self._config.model_copy(update={"score": "norm", "allocation": "uniform"})
        smaller = Heads(by_norm, self.amount).remove(copy.deepcopy(model), Calibration(arguments=arguments))
        return None if self.order is not None else smaller

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is. Raises `InputError` for `amounts` of a module that is no attention."""
        self.check_amounts([{name} for name in candidates(model)])
        return model

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weakest heads removed, in place; an `nn.MultiheadAttention` becomes a `FewHeads`."""
        found, reasons = _attentions(model, calibration.arguments)
        own = _scores(self._config.score, model, found, calibration)
        scores = {one.name: score for one, score in zip(found, own, strict=True)}
        widths = {one.name: one.num_heads for one in found}
        whole = {name: self._whole.setdefault(name, width) for name, width in widths.items()}

        def cut(network: nn.Module, kept: Mapping[str, int]) -> nn.Module:
            keep_heads(network, calibration.arguments, scores, {name: n for name, n in kept.items() if n < widths[name]})
            return network

        if self.order is None:
            kept = {name: width - int(self.share_of(name) * width) for name, width in whole.items()}
        else:
            kept = self.kept(model, removable(model, calibration.arguments, scores, widths), cut, calibration)
        changes, why = keep_heads(model, calibration.arguments, scores, kept)
        self._changes |= changes
        reasons |= why
        if not self._changes:
            listed = "; ".join(f"'{name}' {reason}" for name, reason in reasons.items()) or "it has no attention"
            raise InputError(f"sparsity.method heads: no heads of this network can be removed: {listed}. {WAY_OUT}")
        return model

    def surgery(self) -> Mapping[str, Any]:
        """Return by attention the attributes that changed, with their values."""
        return {"attentions": self._changes}

    def state(self) -> dict[str, Any]:
        """Return what the base needs, the changes, and the numbers of heads of the whole network."""
        return {**super().state(), **self.surgery(), "whole": self._whole}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` with the attentions that lost heads."""
        self._changes, self._whole = dict(state["attentions"]), dict(state["whole"])
        return replay(super().restore(model, state), self._changes)

    def replay(self, model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
        """Return an untrained `model` with these numbers of heads; its layers are cut when its weights are loaded."""
        return replay(model, surgery["attentions"])


def _attentions(model: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[list[Attention], dict[str, str]]:
    """Return the attentions whose layers are identified, and the reasons why others are left out, by name."""
    found, reasons = list[Attention](), dict[str, str]()
    for name in list(candidates(model)):
        try:
            found.append(attention(model, arguments, name))
        except Unremovable as error:
            reasons[name] = str(error)
    return found, reasons


def keep_heads(
    model: nn.Module, arguments: tuple[Tensor, ...], scores: Mapping[str, Tensor], kept: Mapping[str, int]
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:  # fmt: skip
    """Keep only the `kept` heads of each attention that have the highest scores, in place.

    Returns by name the attributes that changed, and the reasons why other attentions are left out.
    """
    changes, reasons = dict[str, dict[str, int]](), dict[str, str]()
    for name, count in kept.items():
        try:
            one = attention(model, arguments, name)
            changes[name] = _removed(model, one, scores[name], count, arguments)
        except Unremovable as error:
            if isinstance(model.get_submodule(name), FewHeads):  # this layer has replaced an nn.MultiheadAttention
                raise InputError(f"sparsity.method heads: '{name}' {error}. {WAY_OUT}") from error
            reasons[name] = str(error)
    return changes, reasons


def removable(
    model: nn.Module, arguments: tuple[Tensor, ...], scores: Mapping[str, Tensor], widths: Mapping[str, int]
) -> dict[str, int]:  # fmt: skip
    """Return those of the attentions that can lose heads, with their numbers of heads."""
    trial = {name: 1 for name, width in widths.items() if width > 1}
    changes, _ = keep_heads(copy.deepcopy(model), arguments, scores, trial)
    return {name: width for name, width in widths.items() if name in changes}


def _scores(score: Score, model: nn.Module, found: list[Attention], calibration: Calibration) -> list[Tensor]:
    """Return the importance of the heads of each attention, `[heads]`."""
    if score == "norm":
        return [one.squares() for one in found]
    if score == "random":
        generator = torch.Generator().manual_seed(calibration.seed)
        return [torch.rand(one.num_heads, generator=generator) for one in found]
    totals = [torch.zeros(one.num_heads) for one in found]
    for loss in calibration.losses(BATCHES):
        model.zero_grad(set_to_none=True)
        loss.backward()
        for one, total in zip(found, totals, strict=True):
            weight = one.projection.weight
            if weight.grad is not None:  # sums to the gradient of a factor of the head's output
                total += one.columns(weight.detach() * weight.grad).sum(dim=1).abs().cpu()
    model.zero_grad(set_to_none=True)
    return totals


def _removed(model: nn.Module, one: Attention, scores: Tensor, count: int, arguments: tuple[Tensor, ...]) -> dict[str, int]:
    """Keep only the `count` heads with the highest scores; return the attributes that changed. Raises `Unremovable`."""
    kept = scores.argsort(stable=True)[-count:].sort().values
    gone = torch.ones(one.num_heads, dtype=torch.bool).index_fill(0, kept, False)
    weight = one.projection.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.view(len(weight), one.num_heads, -1)[:, gone] = 0.0
        expected = outputs_of(model, arguments)
        weight.copy_(before)
    return remove_heads(one, kept, lambda: equal_outputs(model, arguments, expected))
