"""Signatures: the named inputs and outputs of a network, from which it is built, sized, exported and served. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["image", "frames", "vector", "tokens", "class", "boxes", "string"]
Dtype = Literal["float32", "int64"]
ColumnKind = Literal["number", "boolean", "words"]
UNKNOWN_TOKEN = "<unknown>"  # the name of the token that stands for all others
NO_CHARACTER = ""
BLANK_NAME = "<blank>"  # the name of the class that is no character, of connectionist temporal classification (CTC)
BACKGROUND_NAME = "<background>"  # the name of the class that is no object, of detectors
LOGITS = "logits"  # the exported name of a network's only output
_CHARACTER = "character "  # no word has a space, so a vocabulary of words and characters has no name twice


def character_name(character: str) -> str:
    """Return the name of a character's token in a vocabulary of words and characters."""
    return f"{_CHARACTER}{character}"


def character_of(name: str) -> str | None:
    """Return the character of a token; None for a word."""
    return name.removeprefix(_CHARACTER) if name.startswith(_CHARACTER) else None


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table as a network takes it: a number, or a number for each word, 1 for the word of the row, otherwise 0.

    `words` are the words of the training rows, in order; any other word is 0 everywhere. False is 0, and true is 1.
    """

    name: str
    kind: ColumnKind
    words: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers of a network's input the column has."""
        return len(self.words) if self.kind == "words" else 1


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of a network: its name, kind, element type, and shape without the batch dimension.

    A string in `shape` names a free dimension. An input whose first dimension is free is ragged: the network takes its mask
    `[batch, steps]`, True at real steps, as the next argument. `steps` is a typical length of that dimension; sizes and MACs
    are computed for it. `names` is the vocabulary of tokens. `mean` and `std` normalise stored numbers, one value a channel;
    if they are empty, numbers are not normalised. `columns` are those of a table, in the order of the vector that is made of
    a row. `document_start` is the token at which another document begins in a row of several (packing): no position may depend
    on one of another document. None: a row is one document.
    """

    name: str
    kind: Kind
    dtype: Dtype = "float32"
    shape: tuple[int | str, ...]
    steps: int = 1
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    columns: tuple[Column, ...] = ()
    document_start: int | None = None

    @property
    def is_ragged(self) -> bool:
        """Whether the first dimension is free, so that examples differ in length."""
        return bool(self.shape) and isinstance(self.shape[0], str)

    @property
    def typical_shape(self) -> tuple[int, ...]:
        """The shape of an example of typical length."""
        return tuple(self.steps if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One label sequence that a network outputs: its name, its classes, and its steps.

    `steps` names an input: the sequence has one step for each position of that input. None: it has one step an example. A
    sequence that `is_causal` depends at every step on this and earlier positions only.
    """

    name: str
    names: tuple[str, ...]
    steps: str | None = None
    is_causal: bool = False

    @property
    def num_classes(self) -> int:
        """The number of classes of a step."""
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The inputs of a network, in the order of its arguments, and the label sequences that it outputs."""

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
        """Return a signature with the same inputs, whose only output has the classes `names`."""
        (output,) = self.outputs
        return Signature(inputs=self.inputs, outputs=(replace(output, names=names),))

    def document(self) -> dict[str, Any]:
        """Return the signature as JSON values, which `signature_of` reads."""
        return {"inputs": documents_of(self.inputs), "outputs": documents_of(self.outputs)}


def documents_of(specs: Sequence[InputSpec] | Sequence[OutputSpec]) -> list[dict[str, Any]]:
    """Return inputs or outputs as JSON values."""
    return [_listed(asdict(spec)) for spec in specs]


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(one) for name, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, tuple) else value


def signature_of(document: Mapping[str, Any]) -> Signature:
    """Return the signature stored by `Signature.document`. Raises `KeyError` or `TypeError` for anything else."""

    return Signature(
        inputs=tuple(input_spec_of(fields) for fields in document["inputs"]),
        outputs=tuple(OutputSpec(**_tuples(fields)) for fields in document["outputs"]),
    )


def input_spec_of(fields: Mapping[str, Any]) -> InputSpec:
    """Return one input of a signature's document."""
    columns = tuple(Column(**_tuples(column)) for column in fields.get("columns", ()))
    return InputSpec(**{**_tuples(fields), "columns": columns})


def exported_names(signature: Signature) -> dict[str, str]:
    """Return the exported name of every label sequence: `logits` for a single one, its own name among several."""
    return {output.name: output.name if len(signature.outputs) > 1 else LOGITS for output in signature.outputs}


def vocabulary_difference(trained: InputSpec, given: InputSpec) -> str | None:
    """Return how the vocabulary of a network's tokens differs from that of the data, None for equal ones or other inputs.

    A token is a number: in another vocabulary the same number is another word.
    """
    if given.kind != "tokens" or trained.names == given.names:
        return None
    place = next((n for n, pair in enumerate(zip(trained.names, given.names, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(trained.names), len(given.names)) if place is None else place
    theirs, ours = (repr(one[place]) if place < len(one) else "none" for one in (trained.names, given.names))
    return (
        f"was trained with another vocabulary: of {len(trained.names):,} and {len(given.names):,} tokens, number {place} is "
        f"{theirs} there and {ours} in these data."
    )


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
