"""Structured sparsity: the weakest channels are removed, with everything coupled to them (Fang et al., DepGraph, 2023)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch_pruning.pruner import BasePruner

from tutelage.errors import InputError
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._allocation import Allocated, AllocationConfig
from tutelage.sparsity._by_layer import check
from tutelage.sparsity._kept_channels import UNSHARED, channel_scores, keep_channels
from tutelage.sparsity._ranking import (
    NetworkRanks,
    Thresholds,
    fewest_to_keep_one,
    rounded_width,
    thresholds_of,
    whole_widths,
)
from tutelage.sparsity._sandwich import Sandwich
from tutelage.sparsity._scores import DESCRIPTION, Importance, Score, score_of
from tutelage.sparsity._tracing import Names, check_removable, groups, plain_pruner, removed

KIND = "structure"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"score": {"choice": ["l2", "bn_scale", "taylor"]}}


Threshold = Annotated[float, Field(gt=0, le=10)]


class Config(AllocationConfig):
    """Which channels are removed."""

    score: Score = Field("l2", description=DESCRIPTION)
    threshold: float | None = Field(
        None,
        gt=0,
        le=10,
        description="remove only channels with a score below this multiple of the mean score of their layer, and at most the "
        "share of the network's channels; default: no threshold, exactly the share is removed",
    )
    round_to: int = Field(
        1,
        ge=1,
        le=64,
        description="every layer keeps a multiple of this many channels, the nearest to its share; 8 suits ONNX Runtime, where "
        "other widths are slower",
    )
    thresholds: dict[str, Threshold] = Field(
        {},
        description="thresholds of single layers in place of `threshold`, by names or by patterns with * and ?; one holds for "
        "all layers coupled to its own",
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Config:
        if self.has_threshold and (self.amounts or self.allocation == "sensitivity"):
            other = "amounts" if self.amounts else "allocation: sensitivity"
            raise ValueError(f"thresholds decide how many channels a layer loses, and so does {other}. Take one of them")
        return self

    @property
    def is_presized(self) -> bool:
        """Whether the widths are known before training."""
        return self.allocation == "uniform" and not self.has_threshold

    @property
    def has_threshold(self) -> bool:
        """Whether the trained weights decide how much less than the share is removed."""
        return self.threshold is not None or bool(self.thresholds)


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the hidden channels."""
    return Channels(config, amount)


class Channels(Allocated):
    """Removes whole channels, with everything coupled to them."""

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount, config.round_to)
        self._config, self._is_whole = config, False

    @property
    def made(self) -> str:
        """The score that chose the channels, and the rounding of their number."""
        return f"channels by {self._config.score}{self.allocated}{self.rounded}"

    @property
    def rounded(self) -> str:
        """The rounding of the number of channels as text; "" without rounding."""
        if self._config.round_to == 1:
            return ""
        return f", multiples of {self._config.round_to}{': nothing was removed' if self._is_whole else ''}"

    def state(self) -> dict[str, Any]:
        """Return the base's state, and whether rounding left the network whole."""
        return {**super().state(), "is_whole": self._is_whole}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Restore the base's state, and whether rounding left the network whole."""
        self._is_whole = bool(state["is_whole"])
        return super().restore(model, state)

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module | None:
        """Return `model` with its channels removed; None if the trained weights decide how many each layer loses.

        Raises `InputError` for a network without channels that can be removed.
        """
        if self.amount:
            check_removable(self.limited(model, Calibration(arguments=arguments)))
        if not self._config.is_presized:
            return None
        before = _sizes(model)
        smaller = self._by_norm().cut_to_share(model, Calibration(arguments=arguments))
        if self._config.round_to > 1 and self.amount and _sizes(smaller) == before:
            raise InputError(
                f"sparsity.amount {self.amount:g} removes no channel of this network, as every layer keeps the multiple of "
                f"round_to ({self._config.round_to}) that is nearest to its share. Raise sparsity.amount, or lower round_to."
            )
        return smaller

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is.

        Raises `InputError` for a network that cannot lose channels, and for an option of a layer that cannot.
        """
        options = {"thresholds": self._config.thresholds, "amounts": self._config.amounts}
        if self.amount or any(options.values()):
            layers = self.limited(model, calibration)
            check_removable(layers)
            for option, given in options.items():
                check(option, given, layers)
        return model

    def limited(self, model: nn.Module, calibration: Calibration) -> list[set[str]]:
        """Return the coupled layers for which thresholds and amounts may be given."""
        return [group.layers for group in groups(model, calibration.arguments)]

    def _by_norm(self) -> Channels:
        """Return the same method with the score `l2`: a score decides which channels are removed, not how many."""
        return type(self)(self._config.model_copy(update={"score": "l2"}), self.amount)

    def sandwich(self, amounts: Sequence[float], recovery_epochs: int) -> Method:
        """Return the ladder. Raises `InputError` for thresholds, amounts, and the allocation `network`."""
        if self._config.has_threshold or self.amounts or self._config.allocation == "network":
            return super().sandwich(amounts, recovery_epochs)
        return Sandwich(self, self.kept_channels, amounts, recovery_epochs)

    def kept_channels(self, model: nn.Module, calibration: Calibration) -> dict[str, list[int]]:
        """Return the channels of each coupled group that remain, sorted, by the name of the group's first layer.

        With the same weights, those of a larger amount are among those of a smaller one. Raises `InputError` for a network
        whose channels cannot share the weights of the whole one.
        """
        scores = channel_scores(self._config.score, model, calibration)

        def cut(network: nn.Module, kept: Mapping[str, int]) -> nn.Module:
            return keep_channels(network, calibration, scores, kept)

        if self.order is not None:
            kept = self.kept(model, {name: len(own) for name, own in scores.items()}, cut, calibration)
        else:
            smaller = self._by_norm().cut_to_share(copy.deepcopy(model), calibration)
            kept = {name: len(own) for name, own in channel_scores("l2", smaller, calibration).items()}
            if kept.keys() != scores.keys():
                raise InputError(UNSHARED)
        return {name: sorted(own.argsort(stable=True)[len(own) - kept[name] :].tolist()) for name, own in scores.items()}

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weakest channels removed, in place."""
        smaller = self.cut_to_share(model, calibration)
        self._is_whole = _sizes(smaller) == self.whole_shapes
        return smaller

    def cut_to_share(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weakest channels removed, as `allocation` and `amounts` share them out."""
        if self.order is None and not self.amounts:
            return remove_channels(self._config, model, calibration, self.amount, self.whole_shapes)
        scores = channel_scores(self._config.score, model, calibration)
        widths = {name: len(own) for name, own in scores.items()}

        def cut(network: nn.Module, kept: Mapping[str, int]) -> nn.Module:
            return keep_channels(network, calibration, scores, kept)

        if self.order is not None:
            return cut(model, self.kept(model, widths, cut, calibration))
        layers = {name: group.layers for group in groups(model, calibration.arguments) for name in group.layers}
        shares = {name: self.share_of(*layers.get(name, {name})) for name in widths}
        return cut(model, {name: rounded_width(n, shares[name], self._config.round_to) for name, n in widths.items()})


def remove_channels(
    config: Config, model: nn.Module, calibration: Calibration, share: float,
    whole: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> nn.Module:  # fmt: skip
    """Return `model` with `share` (0 to 0.95) of its hidden channels removed, changed in place.

    The share is of the channels of the network whose weights had the shapes `whole`, by name: of `model` itself by default.
    Every layer keeps at least one channel. With `round_to`, it keeps a multiple of it. With `allocation: network`, the
    channels with the lowest normalised score of the whole network go first, or of each module that is marked by
    `models.separate_channels`. Raises `InputError` for a network that would not run without them.
    """
    if share == 0.0:
        return model
    score = score_of(config.score, model, calibration)

    def pruner(part: nn.Module, seen: tuple[Tensor, ...], kept: list[nn.Module], names: Names) -> BasePruner:
        shapes = {layer: whole[f"{name}.weight"] for layer, name in names.items() if f"{name}.weight" in whole}
        return _pruner(config, part, seen, share, kept, score, shapes, names)

    return removed(model, calibration.arguments, pruner)


def _sizes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _pruner(
    config: Config, model: nn.Module, arguments: tuple[Tensor, ...], share: float, kept: list[nn.Module], score: Importance,
    shapes: Mapping[nn.Module, tuple[int, ...]], names: Names,
) -> BasePruner:  # fmt: skip
    """Return the pruner for `share` of the channels of every layer, or of the network; `shapes` are those of whole layers."""
    plain = plain_pruner(model, arguments, score, kept, share, is_global=False)
    widths = whole_widths(plain, shapes)
    is_uniform = config.allocation == "uniform"
    if is_uniform and not config.has_threshold and config.round_to == 1:
        fewest = fewest_to_keep_one(share)
        plain._scope_initial_channels.update({plain.DG._module2name[one]: max(fewest, n) for one, n in widths.items()})
        return plain
    most = share if is_uniform else min(0.95, share + 0.25)
    limits = thresholds_of(plain, names, config.thresholds)
    ranks = NetworkRanks(plain, score, share, most, Thresholds(config.threshold, limits), widths, config.round_to)
    return plain_pruner(model, arguments, ranks, kept, ranks.share)
