"""What a network takes and gives, by name: it is built, sized, traced, exported and served by its signature. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["image", "frames", "vector", "tokens", "class", "boxes", "string"]
Dtype = Literal["float32", "int64"]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of a network: its name, kind, type as the network sees it, and its shape without the batch.

    A string in `shape` names a free dimension; a network takes a mask `[batch, steps]`, True at real steps, after an input
    whose first dimension is free. `steps` is a typical length of that dimension, in which sizes and MACs are given. `names`
    is the vocabulary of tokens. `mean` and `std` normalise stored numbers, one number a channel; empty: not normalised.
    """

    name: str
    kind: Kind
    dtype: Dtype = "float32"
    shape: tuple[int | str, ...]
    steps: int = 1
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def is_ragged(self) -> bool:
        """Whether examples differ in the length of the first dimension."""
        return bool(self.shape) and isinstance(self.shape[0], str)

    @property
    def typical_shape(self) -> tuple[int, ...]:
        """The shape of an example of typical length."""
        return tuple(self.steps if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One label sequence that a network gives: its name, its classes, and where its steps come from.

    `steps` names the input that it has one step for each position of; None: it has one step an example.
    """

    name: str
    names: tuple[str, ...]
    steps: str | None = None

    @property
    def num_classes(self) -> int:
        """How many classes a step has."""
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The inputs of a network, in the order of its arguments, and the label sequences that it gives."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of an example of the first input, without the batch."""
        return self.inputs[0].typical_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the first output."""
        return self.outputs[0].names

    @property
    def classes(self) -> dict[str, int]:
        """The number of classes of every output, by name."""
        return {output.name: output.num_classes for output in self.outputs}

    def with_class_names(self, names: tuple[str, ...]) -> Signature:
        """Return the signature of the same inputs whose only output has the classes `names`."""
        (output,) = self.outputs
        return Signature(inputs=self.inputs, outputs=(OutputSpec(name=output.name, names=names, steps=output.steps),))

    def document(self) -> dict[str, Any]:
        """Return the signature as JSON values, for `signature_of`."""
        return {
            part: [{name: _listed(value) for name, value in asdict(one).items()} for one in specs]
            for part, specs in (("inputs", self.inputs), ("outputs", self.outputs))
        }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def signature_of(document: Mapping[str, Any]) -> Signature:
    """Return the signature that `Signature.document` gave; raises `KeyError` or `TypeError` for anything else."""

    def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}

    return Signature(
        inputs=tuple(InputSpec(**tuples(fields)) for fields in document["inputs"]),
        outputs=tuple(OutputSpec(**tuples(fields)) for fields in document["outputs"]),
    )
