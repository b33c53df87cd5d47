"""Structured sparsity: the weakest channels are removed, with everything coupled to them (Fang et al., DepGraph, 2023)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_pruning.pruner import BasePruner

from tutelage.errors import InputError, nearest
from tutelage.networks import forward, weights
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._coupled import CoupledGroup, coupled_groups
from tutelage.sparsity._outputs import output_layers
from tutelage.sparsity._ranking import NetworkRanks, Thresholds, fewest_to_keep_one, thresholds_of, whole_widths
from tutelage.sparsity._removal import Removal, RemovalConfig
from tutelage.sparsity._scores import DESCRIPTION, Importance, Score, score_of

KIND = "structure"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"score": {"choice": ["l2", "bn_scale", "taylor"]}}


Threshold = Annotated[float, Field(gt=0, le=10)]


class Config(RemovalConfig):
    """Which channels are removed."""

    score: Score = Field("l2", description=DESCRIPTION)
    uniform: bool = Field(True, description="remove the same share of every layer; if false, the weakest of the network")
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
        description="thresholds by the names of layers, in place of `threshold`; one holds for all layers coupled to its own",
    )

    @property
    def has_threshold(self) -> bool:
        """Whether the trained weights decide how much less than the share is removed."""
        return self.threshold is not None or bool(self.thresholds)


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` (0 to 0.95) of the hidden channels."""
    return Channels(config, amount)


class Channels(Removal):
    """Removes whole channels, with everything coupled to them."""

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._config, self._is_whole = config, False

    @property
    def made(self) -> str:
        """The score that chose the channels, and the rounding of their number."""
        return f"channels by {self._config.score}{self.rounded}"

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
        """Return `model` with its channels removed; None if the trained weights decide how many each layer loses."""
        if not self._config.uniform or self._config.has_threshold:
            return None
        by_norm = self._config.model_copy(update={"score": "l2"})  # the score decides which channels go, not how many
        before = _sizes(model)
        smaller = remove_channels(by_norm, model, Calibration(arguments=arguments), self.amount)
        if self._config.round_to > 1 and self.amount and _sizes(smaller) == before:
            raise InputError(
                f"sparsity.amount {self.amount:g} removes no channel of this network, as every layer keeps the multiple of "
                f"round_to ({self._config.round_to}) that is nearest to its share. Remove more, or round to less."
            )
        return smaller

    def start(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` as it is. Raises `InputError` for a threshold of a layer that cannot lose channels."""
        if self._config.thresholds:
            check_thresholds(self._config.thresholds, groups(model, calibration.arguments))
        return model

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weakest channels removed, in place."""
        smaller = remove_channels(self._config, model, calibration, self.amount, self.whole_shapes)
        self._is_whole = _sizes(smaller) == self.whole_shapes
        return smaller


def remove_channels(
    config: Config, model: nn.Module, calibration: Calibration, share: float,
    whole: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> nn.Module:  # fmt: skip
    """Return `model` with `share` (0 to 0.95) of its hidden channels removed, changed in place.

    The share is of the channels of the network whose weights had the shapes `whole`, by name: of `model` itself by default.
    Every layer keeps at least one channel. With `round_to`, it keeps a multiple of it. Without `uniform`, the channels with
    the lowest normalised score of the whole network go first, or of each module that is marked by
    `models.separate_channels`. Raises `InputError` for a network that would not run without them.
    """
    if share == 0.0:
        return model
    arguments, was_training, shared = calibration.arguments, model.training, weights.shared_names(model)
    score = score_of(config.score, model, calibration)
    before = _shapes(forward.run(model, arguments))
    kept = _kept(model.eval(), arguments)
    try:
        with _unwrapped():
            names = {module: name for name, module in model.named_modules()}
            for part, seen in _parts(model, arguments):
                shapes = {layer: whole[f"{name}.weight"] for layer, name in names.items() if f"{name}.weight" in whole}
                _pruner(config, part, seen, share, [*kept, *_ends(part, seen)], score, shapes, names).step()
    except Exception as error:  # torch-pruning raises what it meets in a network that it cannot trace
        raise _untraced(model, error) from error
    model.zero_grad(set_to_none=True)
    _check(model, arguments, before, shared)
    return model.train(was_training)


_CANNOT = "channels cannot be removed from this network"
_WAY_OUT = (
    "Mark the layers whose outputs later code counts (before a reshape or a split) with tutelage.models.keep_width, or set "
    "sparsity.amount: 0."
)


def _untraced(model: nn.Module, error: Exception) -> InputError:
    """Return the error for a network that cannot be traced; it names the recurrent layers, of which LSTMs alone can be."""
    layers = [f"'{name}' ({type(one).__name__})" for name, one in model.named_modules() if isinstance(one, nn.GRU | nn.RNN)]
    if layers and not isinstance(error, InputError):
        return InputError(
            f"{_CANNOT}: its layers {', '.join(layers)} cannot be traced ({forward.reason(error)}). Take sparsity.method: "
            "units, which removes their hidden units, or mark modules that do not hold them with "
            "tutelage.models.separate_channels: channels are then removed from these alone."
        )
    return InputError(f"{_CANNOT}: {forward.reason(error)}. {_WAY_OUT}")


def _check(model: nn.Module, arguments: tuple[Tensor, ...], before: list[torch.Size], shared: Mapping[str, str]) -> None:
    """Raise `InputError` for a network that no longer runs, has other outputs or has lost a shared weight."""
    try:
        after = _shapes(forward.run(model, arguments))
    except InputError as error:
        raise InputError(f"{_CANNOT}: without them, {error} {_WAY_OUT}") from error
    if after != before:
        shapes = (", ".join(str(tuple(shape)) for shape in shapes) for shapes in (before, after))
        raise InputError(f"{_CANNOT}: its outputs would change from {next(shapes)} to {next(shapes)}. {_WAY_OUT}")
    if lost := set(shared.items()) - set(weights.shared_names(model).items()):
        names = " and ".join(sorted(lost)[0])
        raise InputError(f"{_CANNOT}: {names} are one shared tensor, and would become two. {_WAY_OUT}")


def _sizes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _shapes(result: Any) -> list[torch.Size]:
    return [value.shape for value in tree_leaves(result) if isinstance(value, Tensor)]


def _keeps_width(module: nn.Module) -> bool:
    return getattr(module, "keeps_width", False) or isinstance(module, nn.MultiheadAttention | nn.RNNBase)


def _parts(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    """Return what is traced by itself, and its arguments: the modules marked by `models.separate_channels`, or the network."""
    marked = [module for module in model.modules() if getattr(module, "has_separate_channels", False)]
    if not marked:
        return [(model, arguments)]
    seen: dict[nn.Module, tuple[Tensor, ...]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[module] = (inputs[0].detach(),)

    hooks = [module.register_forward_pre_hook(keep) for module in marked]
    with torch.no_grad():
        model(*arguments)
    for hook in hooks:
        hook.remove()
    return [(module, seen[module]) for module in marked]


def _ends(part: nn.Module, arguments: tuple[Tensor, ...]) -> set[nn.Module]:
    """Return the layers whose outputs leave a part that is marked; their width is that of what reads them elsewhere."""
    return output_layers(part, arguments) if getattr(part, "has_separate_channels", False) else set()


def _pruner(
    config: Config, model: nn.Module, arguments: tuple[Tensor, ...], share: float, kept: list[nn.Module], score: Importance,
    shapes: Mapping[nn.Module, tuple[int, ...]], names: Mapping[nn.Module, str],
) -> BasePruner:  # fmt: skip
    """Return what removes `share` of the channels: of every layer, or of the network; `shapes` are those of whole layers."""

    def pruner(importance: Importance, ratio: float) -> BasePruner:
        return BasePruner(
            model, arguments, importance=importance, global_pruning=importance is not score, pruning_ratio=ratio,
            ignored_layers=kept,
            in_channel_groups={}, out_channel_groups={}, num_heads={},  # the defaults are shared, and keep dead networks
        )  # fmt: skip

    plain = pruner(score, share)
    widths = whole_widths(plain, shapes)
    if config.uniform and not config.has_threshold and config.round_to == 1:
        fewest = fewest_to_keep_one(share)
        plain._scope_initial_channels.update({plain.DG._module2name[one]: max(fewest, n) for one, n in widths.items()})
        return plain
    most = share if config.uniform else min(0.95, share + 0.25)
    limits = thresholds_of(plain, names, config.thresholds)
    ranks = NetworkRanks(plain, score, share, most, Thresholds(config.threshold, limits), widths, config.round_to)
    return pruner(ranks, max(0.0, ranks.num_removed - 0.5) / max(1, ranks.num_channels))


def check_thresholds(thresholds: Mapping[str, float], coupled: Sequence[CoupledGroup]) -> None:
    """Raise `InputError` for a threshold of a layer that loses no channels, and for two of coupled layers that differ."""
    by_group = [sorted(group.layers) for group in coupled]
    known = sorted({name for names in by_group for name in names})
    for name in thresholds.keys() - set(known):
        raise InputError(
            f"sparsity.method thresholds: '{name}' is not a layer that can lose channels.{nearest(name, known)} Such layers: "
            f"{', '.join(known)}."
        )
    for names in by_group:
        if len({thresholds[name] for name in names if name in thresholds}) > 1:
            given = ", ".join(f"{name}: {thresholds[name]:g}" for name in names if name in thresholds)
            raise InputError(
                f"sparsity.method thresholds: coupled layers lose the same channels, but have several thresholds: {given}. "
                "Leave all but one out."
            )


def groups(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[CoupledGroup]:
    """Return the coupled channels that could be removed from a network. Raises `InputError` for one that cannot be traced."""
    names, was_training = {module: name for name, module in model.named_modules()}, model.training
    try:
        with _unwrapped():
            kept, parts = _kept(model.eval(), arguments), _parts(model, arguments)
            return [one for part, seen in parts for one in coupled_groups(part, seen, [*kept, *_ends(part, seen)], names)]
    except Exception as error:  # torch-pruning raises what it meets in a network that it cannot trace
        raise _untraced(model, error) from error
    finally:
        model.train(was_training)


def _kept(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[nn.Module]:
    return [*output_layers(model, arguments), *(module for module in model.modules() if _keeps_width(module))]


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Silence a warning about embeddings that are added to tokens: their width is that of the tokens, as is assumed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        yield
