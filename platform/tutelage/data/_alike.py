"""Two splits of one data set: the same fields, with the same shapes, classes and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.data._examples import Examples, Field
from tutelage.data._labels import is_text
from tutelage.data._ragged import Ragged
from tutelage.errors import InputError

_SHOWN = 3  # names of a list


def check_alike(train: Examples, other: Examples, split: str) -> None:
    """Raise `InputError` for a split whose fields are not those of the training split: a network would mistake its numbers."""
    for role in ("inputs", "targets"):
        ours: Mapping[str, Field] = getattr(train, role)
        theirs: Mapping[str, Field] = getattr(other, role)
        if list(ours) != list(theirs):
            raise InputError(f"the {split} split has the {role} {_listed(theirs)}, and the training split {_listed(ours)}.")
        for name, field in ours.items():
            for what, mine, its in _described(field, theirs[name]):
                if mine != its:
                    raise InputError(
                        f"the {split} split: {what} of '{name}' differ from those of the training split ({its}, not {mine}). "
                        "All splits need the same."
                    )


def _described(ours: Field, theirs: Field) -> list[tuple[str, Any, Any]]:
    return [
        ("kind and shape", f"{ours.kind} {_shape(ours)}", f"{theirs.kind} {_shape(theirs)}"),
        ("the names", *_first_difference(ours.names, theirs.names)),
        ("the columns", tuple(column.name for column in ours.columns), tuple(column.name for column in theirs.columns)),
        ("the starts of documents", ours.document_start, theirs.document_start),
        ("mean and deviation", (ours.mean, ours.std), (theirs.mean, theirs.std)),
    ]


def _shape(field: Field) -> str:
    values = field.values
    numbers, ragged = (values.values, "steps × ") if isinstance(values, Ragged) else (values, "")
    return ragged + (" × ".join(str(length) for length in numbers.shape[1:]) or "1")


def _first_difference(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, str]:
    if ours == theirs:
        return "", ""
    place = next(
        (at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), min(len(ours), len(theirs))
    )
    return _listed(ours[place : place + _SHOWN]), _listed(theirs[place : place + _SHOWN])


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def check_numbers(examples: Examples, split: str) -> None:
    """Raise `InputError` for an empty split, a field that is no tensor, and an input that is not finite.

    The sources of the package check their files themselves, and say where in them the number stands.
    """
    if not len(examples):
        raise InputError(f"the {split} split is empty.")
    if not isinstance(examples.notes, tuple | list) or not all(isinstance(one, str) for one in examples.notes):
        raise InputError(f"the {split} split: its notes are {examples.notes!r:.60}, not a tuple of sentences.")
    for name, field in {**examples.inputs, **examples.targets}.items():
        numbers = field.values.values if isinstance(field.values, Ragged) else field.values
        if not isinstance(numbers, Tensor):
            raise InputError(f"the {split} split: the values of '{name}' are a {type(numbers).__name__}, not a tensor.")
        if numbers.requires_grad:
            raise InputError(f"the {split} split: the values of '{name}' require gradients. Detach them.")
        if odd := [one for one in field.names if not isinstance(one, str)]:
            raise InputError(f"the {split} split: the names of '{name}' hold {odd[0]!r}. Names are text.")
        if odd := [one for one in field.names if not is_text(one)]:
            raise InputError(f"the {split} split: the names of '{name}' hold {odd[0]!r}, which is not UTF-8.")
        if len(set(field.names)) < len(field.names):
            raise InputError(f"the {split} split: two names of '{name}' are equal.")
        if numbers.is_floating_point() and not bool(torch.isfinite(numbers).all()):
            raise InputError(
                f"the {split} split: the values of '{name}' are not all finite. Replace those, or remove the rows."
            )
