"""Classification examples and networks as most tests speak of them: one input, one class an example."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tests import own_tests
from tutelage import plugins
from tutelage.data import Examples, Field
from tutelage.errors import InputError
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


WORDS = InputSpec(name="tokens", kind="tokens", dtype="int64", shape=("tokens_steps",), steps=5, names=tuple("abcdefgh"))
SENTENCES = Signature(
    inputs=(WORDS,),
    outputs=(OutputSpec(name="slots", names=("O", "B-x", "I-x"), steps="tokens"), OutputSpec(name="intent", names=("p", "q"))),
)


def students() -> list[str]:
    """Return the models of the package that can be trained; the others are teachers only."""
    return [name for name in plugins.names("models") if not hasattr(plugins.load("models", name), "is_frozen")]


@cache
def models_for(signature: Signature) -> list[str]:
    """Return the models of the package that take these inputs and give these outputs."""
    return [name for name in plugins.names("models") if _takes(name, signature)]


def _takes(name: str, signature: Signature) -> bool:
    if own := own_tests.part("models", name, "SIGNATURE"):
        return bool(own == signature)
    _, plugin, config = plugins.configure("models", name)
    try:
        with torch.device("meta"):
            plugin.build(config, signature)
    except InputError:
        return False
    return True


def signature_for(name: str) -> Signature:
    """Return a small signature that a model takes: that of its own tests, images with a class, or sentences.

    A `module:Name` takes images.
    """
    if own := own_tests.part("models", name, "SIGNATURE"):
        return own  # type: ignore[no-any-return]
    return next((one for one in (plain_signature(), SENTENCES) if name in models_for(one)), plain_signature())


def examples_for(signature: Signature, count: int) -> tuple[Tensor, ...]:
    """Return the arguments of a network for `count` random examples of this signature, sequences of 1 to 5 steps."""
    (spec,) = signature.inputs
    if not spec.is_ragged:
        return (torch.randn(count, *spec.typical_shape),)
    mask = torch.arange(spec.steps) < torch.randint(1, spec.steps + 1, (count, 1))
    if spec.kind == "tokens":
        return torch.randint(0, len(spec.names), mask.shape), mask
    return torch.randn(count, *spec.typical_shape), mask
