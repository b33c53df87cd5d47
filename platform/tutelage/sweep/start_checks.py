"""The check, before anything is trained, of the weights that every student starts from (`student.weights`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Size, nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import checkpoint, class_rows, inherit
from tutelage.signature import Signature, signature_of, vocabulary_difference
from tutelage.training import student_sizes
from tutelage.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class Start:
    """The shapes of starting weights by name, and the model that they are of; a file of weights does not say it."""

    path: Path
    shapes: Mapping[str, Size]
    model: str | None

    def misfit(self, architecture: Mapping[str, Any], network: nn.Module) -> str:
        """Return why a student of this architecture would not start from these weights, "" if it does.

        Layers that the weights do not have, and the rows of other classes in a head, start with random weights. Of a file,
        which does not name its classes, a head of another number of classes does.
        """
        named = plugins.parse_reference(architecture["model"])[0]
        if self.model not in (None, named):
            return (
                f"student.weights {self.path}: they are of model '{self.model}', and the student is model '{named}'. Choose "
                "the model that they are of, or leave them out."
            )
        if not student_sizes.can_inherit(network, self.shapes):
            return (
                f"student.weights {self.path}: no weight of the student has the name of a weight in it and at most its size. "
                "Choose the model that it was trained as, no larger, or leave it out."
            )
        return self._too_small(network, signature_of(architecture["signature"])) or self._other_tokens(architecture)

    def _other_tokens(self, architecture: Mapping[str, Any]) -> str:
        """Return the message for a file with a row for each of other tokens than the data have, "" without any."""
        vocabularies = [one.names for one in signature_of(architecture["signature"]).inputs if one.names]
        if self.model is not None or not vocabularies:
            return ""
        for name, axes in class_rows.class_axes(architecture).items():
            for axis, tokens in axes.items():
                if tokens in vocabularies and name in self.shapes and self.shapes[name][axis] > len(tokens):
                    return (
                        f"student.weights {self.path}: {name} has {self.shapes[name][axis]:,} tokens there and "
                        f"{len(tokens):,} in the data, and the file does not say which. Give the directory that `tutelage "
                        "export` wrote, with data of the same vocabulary."
                    )
        return ""

    def _too_small(self, network: nn.Module, signature: Signature) -> str:
        """Return the message for a matrix of the student that is larger than the one of its name, "" without any."""
        counts = set(signature.classes.values()) - {len(one.names) for one in signature.inputs if one.kind == "tokens"}
        for name, tensor in network.state_dict().items():
            given, wanted = self.shapes.get(name), tensor.shape
            if given is None or tensor.ndim < 2 or inherit.fits(wanted, given):
                continue
            if not (wanted[0] in counts and inherit.fits(wanted[1:], given[1:])):
                return (
                    f"student.weights {self.path}: {name} has the shape {tuple(given)} there and {tuple(wanted)} in the "
                    "student, which can only be cut from a larger one. Choose a student that is no larger than the network "
                    "of these weights."
                )
        return ""


def start_of(context: TrainingContext) -> Start | None:
    """Return the starting weights of all students, None without any.

    Raises `InputError` for a path that holds none, for numbers that are not finite, and for those of another vocabulary.
    """
    if context.start is None:
        return None
    try:
        weights = checkpoint.weights_at(context.start)
    except InputError as error:
        raise InputError(
            f"student.weights: {error}. Give a .safetensors file, or a directory that `tutelage export` wrote."
        ) from None
    if wrong := [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise InputError(f"student.weights {context.start}: {wrong[0]} has values that are not finite. Give other weights.")
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    return Start(path=context.start, shapes=shapes, model=_model_of(context.start, context.signature))


def _model_of(start: Path, signature: Signature) -> str | None:
    """Return the model's name in a directory's architecture, None for a file, which has none.

    Raises `InputError` for another vocabulary: a row of the embeddings is then that of another token.
    """
    if not (start / checkpoint.ARCHITECTURE).is_file():
        return None
    architecture = checkpoint.read_architecture(start)
    trained = {one.name: one for one in signature_of(architecture["signature"]).inputs}
    for own in signature.inputs:
        if own.name in trained and (difference := vocabulary_difference(trained[own.name], own)) is not None:
            raise InputError(
                f"student.weights {start}: {difference} Start from weights of the same vocabulary, or leave them out."
            )
    return plugins.parse_reference(architecture["model"])[0]
