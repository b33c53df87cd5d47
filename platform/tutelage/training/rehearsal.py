"""The life of a network in a few steps: what would fail after hours of training fails before anything is trained.

A network is built, trained for a few epochs on a few examples, made smaller, saved and read back. Every candidate must then
have the outputs that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save
from torch import Tensor, nn

from tutelage import foreign
from tutelage.errors import InputError, TutelageError
from tutelage.networks import checkpoint, forward
from tutelage.networks.blank import argument_names, mask_name
from tutelage.networks.compare import SUMS, are_close, first_difference, logits_of, unsaved_tensors
from tutelage.networks.weights import load, weights_of
from tutelage.records.trial import representative
from tutelage.signature import Signature
from tutelage.sparsity import Point
from tutelage.training import loop
from tutelage.training.plan import Phase, TrainingPlan

NUM_EXAMPLES = 8
RATE = 1e-3  # learning rate, at which no network diverges in a few steps
BATCHES = (1, 2, 3)  # sizes whose outputs are compared
_SHOWN = 4


def rehearse(architecture: Mapping[str, Any], plan: TrainingPlan, described: Callable[[Point], Mapping[str, Any]]) -> nn.Module:
    """Return the candidate of a short training of the network of `architecture` by `plan` that its config specifies.

    `described` returns the architecture of a candidate. Raises `InputError` with the layer and the reason for a network that
    cannot be trained, made smaller, saved or read back, or whose outputs for an example depend on chance, on the other
    examples of a batch, or on later steps where they must not.
    """
    signature, seed = plan.signature, plan.seed
    model, again = checkpoint.seeded(architecture, seed), checkpoint.seeded(architecture, seed)
    _check_initial(model, again)
    arguments = plan.train.take(slice(max(BATCHES))).arguments
    _check_outputs(model, arguments, signature)
    _check_causal(model, arguments, signature)
    points = _trained(model, plan) if plan.train.num_labelled else [Point(model=model)]
    for point in points:
        _check_read_back(point.model, described(point), arguments, signature, seed)
    return representative(points).model


def _check_initial(model: nn.Module, again: nn.Module) -> None:
    own, other = model.state_dict(), again.state_dict()
    for name, tensor in own.items():
        if name not in other or not torch.equal(tensor, other[name]):
            raise InputError(
                f"the same seed gives other initial values of {name}. Draw them from the global generators of torch, NumPy or "
                "Python."
            )


def _check_outputs(model: nn.Module, arguments: tuple[Tensor, ...], signature: Signature) -> None:
    """Raise `InputError` for outputs of a wrong shape or that depend on chance or on the batch, and for changed inputs."""
    names, given = list(signature.classes), [argument.clone() for argument in arguments]
    together = logits_of(model, arguments, names)
    if not all(torch.equal(before, after) for before, after in zip(given, arguments, strict=True)):
        raise InputError("the network changes its inputs in place. Compute a new tensor: x * 0.5 instead of x.mul_(0.5).")
    if not are_close(together, logits_of(model, arguments, names)):
        raise InputError(
            f"{first_difference(model, model, arguments)} gives other outputs for the same inputs in evaluation mode. Random "
            "numbers must be drawn in training mode only, as by functional.dropout(inputs, p, self.training)."
        )
    for name, logits in together.items():
        if _are_probabilities(logits):
            raise InputError(
                f"the output '{name}' gives probabilities. Return the logits, which are not passed through softmax."
            )
    for size in BATCHES[: len(arguments[0])]:
        some = logits_of(model, tuple(tensor[:size] for tensor in arguments), names)
        for output in signature.outputs:
            _check_shape(output.name, some[output.name], size, output.num_classes, has_steps=bool(output.steps))
        if not are_close({name: logits[:size] for name, logits in together.items()}, some, SUMS):
            raise InputError(
                f"the outputs for an example change with the other examples of its batch ({size} instead of {max(BATCHES)}). "
                "In evaluation mode, an example must be computed by itself."
            )


def _check_causal(model: nn.Module, arguments: tuple[Tensor, ...], signature: Signature) -> None:
    """Raise `InputError` for a causal label sequence whose first steps change when the later steps are cut off."""
    names = list(signature.classes)
    for output in [one for one in signature.outputs if one.is_causal]:
        given = dict(zip(argument_names(signature), arguments, strict=True))
        source = next(spec for spec in signature.inputs if spec.name == output.steps)
        kept = max(1, given[source.name].shape[1] // 2)
        mask = given[mask_name(source)][:, :kept]
        stepped = (source.name, mask_name(source))
        cut = {name: values[:, :kept] if name in stepped else values for name, values in given.items()}
        whole, first = (logits_of(model, tuple(some.values()), names)[output.name] for some in (given, cut))
        if not are_close({output.name: whole[:, :kept][mask]}, {output.name: first[mask]}, SUMS):
            raise InputError(
                f"the output '{output.name}' for a step changes with later steps of '{source.name}', which it must predict. "
                "Let a step depend on itself and earlier ones only."
            )


def _are_probabilities(logits: Tensor) -> bool:
    """Return whether the numbers of every example sum to 1 and none is negative: softmax would be taken twice."""
    sums = logits.float().sum(dim=-1)
    return bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def _check_shape(name: str, logits: Tensor, size: int, num_classes: int, *, has_steps: bool) -> None:
    """Raise `InputError` unless logits are float32 `[size, num_classes]`, or `[size, steps, num_classes]`."""
    if logits.dtype != torch.float32:
        raise InputError(f"the output '{name}' has the type {logits.dtype}; it must have torch.float32.")
    if logits.ndim in ((3,) if has_steps else (2, 3)) and logits.shape[0] == size and logits.shape[-1] == num_classes:
        return
    wanted = f"({size}, steps, {num_classes})" if has_steps else f"({size}, {num_classes})"
    raise InputError(
        f"the output '{name}' has the shape {tuple(logits.shape)} for a batch of {size}; it must have {wanted}. "
        "A squeeze() without an axis also drops a batch of one."
    )


def _trained(model: nn.Module, plan: TrainingPlan) -> list[Point]:
    """Return the candidates of a training of an epoch, and of one after each removal of a sparsity method (two at least)."""
    rows = plan.train.labelled.nonzero().flatten()[:NUM_EXAMPLES]
    few = plan.train.subset(rows)
    removals = sum(phase.sparsifies for phase in plan.phases) or 1
    changes = {"epochs": 1 + removals, "batch_size": max(1, len(few) // 2), "learning_rate": RATE}
    phases = (Phase(epochs=1, is_distilled=False), *[Phase(epochs=1, is_distilled=False, sparsifies=True)] * removals)
    short = replace(plan, train=few, validation=few, recipe=plan.recipe.model_copy(update=changes), distillation=None,
                    phases=phases if plan.sparsity else ())  # fmt: skip
    try:
        with forward.contained():
            return _finished(model, short)
    except TutelageError as error:
        raise InputError(str(error)) from error
    except (Exception, SystemExit) as error:  # a network of a user's may raise anything
        raise InputError(f"the network cannot be trained: {foreign.reason(error)}.") from error


def _finished(model: nn.Module, plan: TrainingPlan) -> list[Point]:
    training = loop.Training(model, plan)
    while not training.is_done:
        training.epoch()
    return list(training.finish())


def distilled_steps(model: nn.Module, plan: TrainingPlan) -> None:
    """Train a network for an epoch of a few examples with the distillation of its plan; raises whatever a step raises."""
    few = plan.train.few(NUM_EXAMPLES)
    changes = {"epochs": 1, "batch_size": max(1, len(few) // 2), "learning_rate": RATE}
    recipe = plan.recipe.model_copy(update=changes)
    _finished(model, replace(plan, train=few, validation=few, recipe=recipe, phases=(), sparsity=None))


def _check_read_back(
    model: nn.Module, architecture: Mapping[str, Any], arguments: tuple[Tensor, ...], signature: Signature, seed: int
) -> None:
    """Raise `InputError` for a network that has other outputs after it was saved and read."""
    names = list(signature.classes)
    try:
        held = from_safetensors(save(weights_of(model)))
        again = load(checkpoint.seeded(architecture, seed + 1), held).eval()
        same = are_close(logits_of(model, arguments, names), logits_of(again, arguments, names))
    except InputError as error:
        raise InputError(f"the trained network cannot be saved and read: {error}") from error
    except (Exception, SystemExit) as error:  # a network of a user's may raise anything
        raise InputError(f"the trained network cannot be saved and read: {foreign.reason(error)}.") from error
    if not same:
        unsaved = ", ".join(unsaved_tensors(model)[:_SHOWN])
        hint = f" It does not save {unsaved}." if unsaved else ""
        raise InputError(
            f"{first_difference(model, again, arguments)} has other outputs after the trained network was saved and "
            f"read.{hint} Keep what changes, or is random, in parameters and in buffers (register_buffer)."
        )
