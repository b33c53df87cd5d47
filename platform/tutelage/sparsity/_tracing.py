"""What torch-pruning traces of a network, the removal of coupled channels, and the check that the network still runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_pruning.pruner import BasePruner

from tutelage import foreign
from tutelage.errors import InputError
from tutelage.networks import forward, weights
from tutelage.sparsity._coupled import CoupledGroup, coupled_groups
from tutelage.sparsity._outputs import output_layers
from tutelage.sparsity._scores import Importance

Names = Mapping[nn.Module, str]
NewPruner = Callable[[nn.Module, tuple[Tensor, ...], list[nn.Module], Names], BasePruner]


def removed(model: nn.Module, arguments: tuple[Tensor, ...], pruner: NewPruner) -> nn.Module:
    """Return `model` after the removals of a pruner of each part. Raises `InputError` if the network no longer works."""
    was_training, shared = model.training, weights.shared_names(model)
    before = _shapes(forward.run(model, arguments))
    names = {module: name for name, module in model.named_modules()}
    with traced(model):
        for part, seen, kept in parts(model.eval(), arguments):
            pruner(part, seen, kept, names).step()
    model.zero_grad(set_to_none=True)
    _check(model, arguments, before, shared)
    return model.train(was_training)


@contextmanager
def traced(model: nn.Module) -> Iterator[None]:
    """Raise an `InputError` in place of torch-pruning's error for a network that it cannot trace.

    Its warning about embeddings that are added to tokens is silenced: they have the tokens' width, as it assumes. So are those
    about recurrent layers, one for each step of their graph: the error names these layers.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
            warnings.filterwarnings("ignore", message="Maximum recursive depth reached")
            yield
    except Exception as error:
        raise _untraced(model, error) from error


_CANNOT = "channels cannot be removed from this network"
_WAY_OUT = (
    "Mark the layers whose outputs later code counts (before a reshape or a split) with tutelage.models.keep_width, or set "
    "sparsity.amount: 0."
)


def _untraced(model: nn.Module, error: Exception) -> InputError:
    """Return the error for a network that cannot be traced; it names the GRU and RNN layers, which are often the cause."""
    layers = [f"'{name}' ({type(one).__name__})" for name, one in model.named_modules() if isinstance(one, nn.GRU | nn.RNN)]
    if layers and not isinstance(error, InputError):
        return InputError(
            f"{_CANNOT}: its layers {', '.join(layers)} cannot be traced ({foreign.reason(error)}). Take sparsity.method: "
            "units, which removes their hidden units where no norm reads them, or low_rank or magnitude, which keep widths; or "
            "mark modules that do not hold them with tutelage.models.separate_channels: channels are then removed from these "
            "alone."
        )
    return InputError(f"{_CANNOT}: {foreign.reason(error)}. {_WAY_OUT}")


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


def _shapes(result: Any) -> list[torch.Size]:
    return [value.shape for value in tree_leaves(result) if isinstance(value, Tensor)]


def _keeps_width(module: nn.Module) -> bool:
    return getattr(module, "keeps_width", False) or isinstance(module, nn.MultiheadAttention | nn.RNNBase)


def parts(model: nn.Module, arguments: tuple[Tensor, ...]) -> Iterator[tuple[nn.Module, tuple[Tensor, ...], list[nn.Module]]]:
    """Yield each part that is traced by itself, its arguments, and the layers that keep their width."""
    kept = [*output_layers(model, arguments), *(module for module in model.modules() if _keeps_width(module))]
    for part, seen in _parts(model, arguments):
        yield part, seen, [*kept, *_ends(part, seen)]


def _parts(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    """Return the parts that are traced by themselves: modules marked by `models.separate_channels`, or else the network.

    Each has its arguments.
    """
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
    """Return the layers whose outputs leave a marked part; layers outside of it read them, so they keep their width."""
    return output_layers(part, arguments) if getattr(part, "has_separate_channels", False) else set()


def plain_pruner(
    part: nn.Module, arguments: tuple[Tensor, ...], importance: Importance, kept: list[nn.Module], ratio: float = 0.0,
    *, is_global: bool = True,
) -> BasePruner:  # fmt: skip
    """Return a pruner that removes the share `ratio` of a part's channels: the weakest of all layers, or of each layer."""
    return BasePruner(
        part, arguments, importance=importance, global_pruning=is_global, pruning_ratio=ratio, ignored_layers=kept,
        in_channel_groups={}, out_channel_groups={}, num_heads={},  # the defaults are shared, and keep dead networks
    )  # fmt: skip


def check_removable(layers: Collection[set[str]]) -> None:
    """Raise `InputError` if a network has no `layers` whose channels can be removed."""
    if not layers:
        raise InputError(
            f"{_CANNOT}: every layer must keep its width, because it gives the outputs, meets a residual stream, or is marked "
            "with tutelage.models.keep_width. Take another sparsity method, or set sparsity.amount: 0."
        )


def groups(model: nn.Module, arguments: tuple[Tensor, ...]) -> list[CoupledGroup]:
    """Return the coupled channels that could be removed from a network. Raises `InputError` for one that cannot be traced."""
    names, was_training = {module: name for name, module in model.named_modules()}, model.training
    try:
        with traced(model):
            found = parts(model.eval(), arguments)
            return [one for part, seen, kept in found for one in coupled_groups(part, seen, kept, names)]
    finally:
        model.train(was_training)
