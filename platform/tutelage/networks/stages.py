"""The stages of a network, and their features, attention maps, head scores and queries, captured in a forward pass."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.masks import masked_mean
from tutelage.networks import forward
from tutelage.networks.blank import blank_arguments, classes_of, steps_of
from tutelage.networks.checkpoint import innermost, rows_of_classes
from tutelage.networks.output import Outline, Stage
from tutelage.signature import Signature

_STAGE = re.compile(r"stage(\d+)$")
_QUERIES_KEYS_VALUES = (  # names of an attention's layers: one for all three, or one each
    ("queries_keys_values",), ("in_projection",),
    ("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"),
)  # fmt: skip


def stages(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that losses compare, by name: those set by `name_layers`, otherwise the stages in order of depth.

    Stages are the children named stage1, stage2, … of the network, or of the network that a wrapper contains.
    """
    inner = _unwrapped(model)
    chosen: list[str] | None = getattr(inner, "compared_layers", None)
    if chosen is not None:
        return {name: inner.get_submodule(name) for name in chosen}
    named = {name: child for name, child in inner.named_children() if _STAGE.match(name)}
    return dict(sorted(named.items(), key=lambda item: int(item[0].removeprefix("stage"))))


def name_layers(model: nn.Module, names: Sequence[str] | None) -> nn.Module:
    """Set the layers `names` to be compared instead of the network's stages, and return the network.

    None changes nothing. Raises `InputError` for a layer that does not exist, with the nearest names.
    """
    if names is None:
        return model
    inner = _unwrapped(model)
    layers = [name for name, _ in inner.named_modules() if name]
    for name in names:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=3, cutoff=0.4) or layers[:3]
            raise InputError(f"layers: the network has no layer '{name}'. The nearest: {', '.join(near)}.")
    inner.compared_layers = list(names)  # type: ignore[assignment]
    return model


def _unwrapped(model: nn.Module) -> nn.Module:
    inner = getattr(model, "network", None)
    return _unwrapped(inner) if isinstance(inner, nn.Module) else model


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping that receives each stage's output in every forward pass within the block.

    Outputs that are not a tensor of features (`[batch, …]`), such as those of recurrent layers, are left out.
    """
    with _hooked(stages(model), lambda _module, _inputs, output: output) as seen:
        yield seen


@contextmanager
def heads_watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping that receives the scores of the last attention layer of each stage that has one, as `watched` does.

    An attention layer is one with a method `head_scores(inputs)`, which returns `[batch, heads, positions, positions]`.
    """
    found = {name: _last_attention(stage) for name, stage in stages(model).items()}
    attentions = {name: module for name, module in found.items() if module is not None}
    with _hooked(attentions, lambda module, inputs, _output: module.head_scores(*inputs)) as seen:
        yield seen


def _last_attention(stage: nn.Module) -> Any:
    attentions = [module for module in stage.modules() if hasattr(module, "head_scores")]
    return attentions[-1] if attentions else None


@contextmanager
def qkv_watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping that receives the queries, keys and values of the last attention of each stage that has one.

    They are `[batch, positions, 3 * width]`, one beside the other. An attention layer is an `nn.MultiheadAttention`, or a
    module whose children compute them under one of the usual names (`_QUERIES_KEYS_VALUES`). One whose queries, keys and
    values differ in width is left out.
    """
    with ExitStack() as stack:
        seen: dict[str, Tensor] = {}
        for name, stage in stages(model).items():
            found, layers = list[tuple[int, Tensor]](), _qkv_layers(stage)
            for place, layer in enumerate(layers):
                hook = partial(_gather, seen, name, found, place, len(layers))
                stack.callback(layer.register_forward_hook(hook).remove)
        yield seen


def _gather(
    seen: dict[str, Tensor], name: str, found: list[tuple[int, Tensor]], place: int, count: int,
    layer: nn.Module, inputs: Any, output: Any,
) -> None:  # fmt: skip
    """Add the output of a layer to `found`; when all `count` layers have one, join them."""
    found.append((place, _of_multihead(layer, *inputs) if isinstance(layer, nn.MultiheadAttention) else output))
    if len(found) == count:
        parts = [part for _, part in sorted(found, key=lambda one: one[0])]
        found.clear()
        if len({part.shape for part in parts}) == 1 and (count > 1 or parts[0].shape[-1] % 3 == 0):
            seen[name] = torch.cat(parts, dim=-1)


def _of_multihead(layer: nn.MultiheadAttention, queries: Tensor, *_others: Tensor) -> Tensor:
    """Return what a self-attention computes its scores and outputs from, `[batch, positions, 3 * width]`."""
    found = functional.linear(queries, layer.in_proj_weight, layer.in_proj_bias)
    return found if layer.batch_first else found.transpose(0, 1)


def _qkv_layers(stage: nn.Module) -> list[nn.Module]:
    """Return the layers of the queries, keys and values of the last attention of a stage; [] if it has none."""
    found: list[nn.Module] = []
    for module in stage.modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            found = [module]
        children = dict(module.named_children())
        for names in _QUERIES_KEYS_VALUES:
            if children.keys() >= set(names):
                found = [children[name] for name in names]
    return found


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], take: Callable[[Any, Any, Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}

    def store(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        taken = take(module, inputs, output)
        if isinstance(taken, Tensor) and taken.ndim > 1:
            seen[name] = taken

    hooks = [module.register_forward_hook(partial(store, name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def features_of(output: Tensor) -> Tensor:
    """Return a stage's output as `[batch, positions, channels]`: images are flattened, and a vector is one position."""
    if output.ndim == 2:
        return output.unsqueeze(1)
    return output.flatten(2).transpose(1, 2) if output.ndim > 3 else output


def pooled_of(output: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean `[batch, channels]` of a stage's output over its positions, of those in `mask` if there is one."""
    return masked_mean(features_of(output), mask)


def map_of(output: Tensor) -> Tensor:
    """Return a stage's attention map `[batch, positions]`: the mean square over the channels."""
    if output.ndim > 3:
        return output.float().square().mean(dim=1).flatten(1)
    return features_of(output).float().square().mean(dim=2)


def outline_of(model: nn.Module, signature: Signature) -> Outline:
    """Return the outline of a network with this signature. On the meta device this needs no computation.

    Its weights are those of the innermost network; for an ensemble, those of its first member. Of a network of chosen classes,
    they have the rows of these classes.
    """
    arguments = blank_arguments(signature, 2, next(model.parameters()).device)
    with watched(model) as seen, heads_watched(model) as scores, qkv_watched(model) as qkv:
        result = forward.run(model, arguments)
    classes, steps = classes_of(result, signature), stages_of_steps(model, signature)
    own = dict(innermost(model).named_parameters())
    return Outline(
        classes=next(iter(classes.values())),
        sequences=classes,
        steps=steps_of(result, signature),
        stages=tuple(
            replace(
                _stage(name, output),
                heads=scores[name].shape[1] if name in scores else 0,
                qkv_width=qkv[name].shape[-1] // 3 if name in qkv else 0,
                has_steps=name in steps,
            )
            for name, output in seen.items()
        ),
        weights={name: tuple(weight.shape) for name, weight in rows_of_classes(model, own).items()},
        head_stages=tuple(getattr(innermost(model), "head_stages", ())),
    )


def stages_of_steps(model: nn.Module, signature: Signature) -> frozenset[str]:
    """Return the names of the stages whose number of positions follows the length of ragged inputs; none if all are dense.

    The network is run for examples of two lengths: one number of positions alone may equal a length by chance.
    """
    if not any(spec.is_ragged for spec in signature.inputs):
        return frozenset()
    typical, other = (_positions(model, one) for one in (signature, _of_other_length(signature)))
    return frozenset(name for name, count in typical.items() if count != other[name])


def _of_other_length(signature: Signature) -> Signature:
    """Return the signature with typical examples twice as long: one step more may be the same number at a stride."""
    inputs = (replace(one, steps=2 * one.steps) if one.is_ragged else one for one in signature.inputs)
    return replace(signature, inputs=tuple(inputs))


def _positions(model: nn.Module, signature: Signature) -> dict[str, int]:
    with watched(model) as seen:
        forward.run(model, blank_arguments(signature, 2, next(model.parameters()).device))
    return {name: features_of(output).shape[1] for name, output in seen.items()}


def _stage(name: str, output: Tensor) -> Stage:
    if output.ndim > 3:
        return Stage(name=name, grid=tuple(output.shape[2:]), channels=output.shape[1])
    return Stage(name=name, grid=tuple(output.shape[1:-1]), channels=output.shape[-1])
