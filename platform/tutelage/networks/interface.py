"""The arguments and outputs of an exported network: their names, types and shapes, in which a string is a free dimension."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tutelage.networks.blank import argument_names, blank_arguments
from tutelage.signature import InputSpec, OutputSpec, Signature, exported_names
from tutelage.tasks import by_sequence

BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class Port:
    """An argument or output of an exported network; `shape` includes the batch."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def arguments_of(signature: Signature) -> tuple[Port, ...]:
    """Return the arguments of a network in order: every input, and after a ragged one its mask."""
    shaped = [port for spec in signature.inputs for port in _shaped(spec)]
    return tuple(
        Port(name=name, dtype=dtype, shape=shape)
        for name, (dtype, shape) in zip(argument_names(signature), shaped, strict=True)
    )


def _shaped(spec: InputSpec) -> list[tuple[str, tuple[int | str, ...]]]:
    own: tuple[str, tuple[int | str, ...]] = (spec.dtype, (BATCH, *spec.shape))
    return [own, ("bool", (BATCH, spec.shape[0]))] if spec.is_ragged else [own]


def traced_arguments(signature: Signature) -> tuple[Tensor, ...]:
    """Return arguments to trace a network with: two examples of at least two steps, as a size of one is taken as fixed."""
    inputs = tuple(replace(spec, steps=max(2, spec.steps)) for spec in signature.inputs)
    return blank_arguments(replace(signature, inputs=inputs), 2)


def outputs_of(signature: Signature, model: nn.Module) -> tuple[Port, ...]:
    """Return the outputs of `model`, one for every label sequence in order; the network is run on blank examples."""
    with torch.inference_mode():
        given = by_sequence(model(*traced_arguments(signature)), list(signature.classes))
    names = exported_names(signature)
    return tuple(
        Port(name=names[output.name], dtype="float32", shape=_output_shape(output, given[output.name], signature))
        for output in signature.outputs
    )


def _output_shape(output: OutputSpec, logits: Tensor, signature: Signature) -> tuple[int | str, ...]:
    steps: tuple[int | str, ...] = tuple(logits.shape[1:-1])
    source = ragged_source(output, signature)
    if source is None:
        return (BATCH, *steps, output.num_classes)
    is_strided = steps[0] != max(2, source.steps)  # of the traced arguments
    return (BATCH, f"{output.name}_steps" if is_strided else source.shape[0], output.num_classes)


def ragged_source(output: OutputSpec, signature: Signature) -> InputSpec | None:
    """Return the ragged input whose positions are the steps of an output; None for an output of a fixed number of steps."""
    return next((spec for spec in signature.inputs if spec.is_ragged and spec.name == output.steps), None)
