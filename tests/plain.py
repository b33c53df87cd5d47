"""Classification examples and networks as most tests speak of them: one input, one class an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tutelage.data import Examples, Field
from tutelage.signature import InputSpec, OutputSpec, Signature


class Plain:
    """Examples of one input and one class, with short names for their parts."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.labelled, self.num_labelled = examples.labelled, examples.num_labelled

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def field(self) -> Field:
        return self.examples.inputs["inputs"]

    @property
    def inputs(self) -> Tensor:
        assert isinstance(self.field.values, Tensor)
        return self.field.values

    @property
    def labels(self) -> Tensor:
        values = self.examples.targets["class"].values
        assert isinstance(values, Tensor)
        return values

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.examples.targets["class"].names

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def example_shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[1:])

    @property
    def mean(self) -> tuple[float, ...]:
        return self.field.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.field.std

    @property
    def notes(self) -> tuple[str, ...]:
        """What was inferred, but how the splits were made."""
        return tuple(note for note in self.examples.notes if not note.startswith("splits: "))

    def seen(self, rows: Any = slice(None)) -> Tensor:
        return self.examples.take(rows).inputs["inputs"]


def plain_signature(shape: Sequence[int] = (1, 8, 8), names: Sequence[str] = tuple("0123456789")) -> Signature:
    """Return the signature of a network that takes examples of `shape` and gives classes called `names`."""
    kind = "image" if len(shape) == 3 else "vector"
    return Signature(
        inputs=(InputSpec(name="inputs", kind=kind, shape=tuple(shape)),),
        outputs=(OutputSpec(name="class", names=tuple(names)),),
    )  # fmt: skip


def architecture_of(model: Any, shape: Sequence[int] = (1, 8, 8), names: Sequence[str] = tuple("0123456789")) -> dict[str, Any]:
    """Return what is kept beside the weights of a `model` of that signature."""
    return {"version": 2, "model": model, "signature": plain_signature(shape, names).document()}
