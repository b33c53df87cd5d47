"""A network that is given inputs as other data normalise and order them, and takes them in its own way.

A network from elsewhere has learned from inputs that were normalised by the mean and deviation of its own training data, and
from columns of a table in its own order. Here, the inputs of new data are changed accordingly before the network gets them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.errors import InputError, nearest
from tutelage.signature import Column, InputSpec


def adapt(model: nn.Module, taken: Sequence[InputSpec], given: Sequence[InputSpec]) -> nn.Module:
    """Return `model`, which was made for the inputs `taken`, so that it is called with the inputs `given`.

    Neither its weights nor their names change. Raises `InputError` for a column that is missing or of another kind.
    """
    changes: list[_Change | None] = []
    for own, other in zip(taken, given, strict=True):
        changes += [_change(own, other), *([None] if own.is_ragged else [])]  # a mask stays as it is
    if any(changes):
        model.register_forward_pre_hook(_Adapter(changes))
    return model


def needs_adapting(taken: Sequence[InputSpec], given: Sequence[InputSpec]) -> bool:
    """Return whether inputs of the same kinds and sizes differ in normalisation or columns; False for other kinds or sizes."""
    pairs = list(zip(taken, given, strict=False))
    is_alike = len(taken) == len(given) and all(own.kind == other.kind and _fits(own, other) for own, other in pairs)
    return is_alike and any(_change(own, other) for own, other in pairs)


def _fits(own: InputSpec, other: InputSpec) -> bool:
    sizes = ([size if isinstance(size, int) else None for size in spec.shape] for spec in (own, other))
    return bool(own.columns and other.columns) or next(sizes) == next(sizes)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """`y = x[places] * scale + shift` along an axis; a place of -1 is a number that the data do not have, which is 0."""

    axis: int
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    places: tuple[int, ...] | None = None

    def __call__(self, given: Tensor) -> Tensor:
        shape = (1,) * self.axis + (-1,) + (1,) * (given.ndim - self.axis - 1)
        scale, shift = (torch.tensor(one, device=given.device).view(shape) for one in (self.scale, self.shift))
        if self.places is not None:
            found = torch.tensor(self.places, device=given.device)
            given = given.index_select(self.axis, found.clamp(min=0)) * (found >= 0).view(shape)
        return given * scale + shift


class _Adapter:
    """A hook before the forward pass that changes a network's arguments."""

    def __init__(self, changes: Sequence[_Change | None]) -> None:
        self.changes = tuple(changes)

    def __call__(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pairs = zip(self.changes, arguments, strict=True)
        return tuple(change(given) if change else given for change, given in pairs)


def _change(own: InputSpec, other: InputSpec) -> _Change | None:
    """Return what turns `other` into `own`; None if they are alike."""
    places = tuple(_places(own.columns, other.columns)) if own.columns and other.columns else None
    if own.columns == other.columns:
        places = None
    own_mean, own_std = _normalisation(own, len(own.mean or other.mean))
    mean, std = _normalisation(other, len(other.mean or own.mean))
    if places is not None:
        mean, std = (
            [values[place] if place >= 0 else neutral for place in places] for values, neutral in ((mean, 0.0), (std, 1.0))
        )
    if places is None and (own_mean, own_std) == (mean, std):
        return None
    pairs = list(zip(own_mean, own_std, mean, std, strict=True))
    return _Change(
        axis=2 if own.is_ragged else 1, places=places, scale=tuple(there / here for _, here, _, there in pairs),
        shift=tuple((middle - centre) / here for centre, here, middle, _ in pairs),
    )  # fmt: skip


def _normalisation(spec: InputSpec, count: int) -> tuple[list[float], list[float]]:
    return list(spec.mean) or [0.0] * count, list(spec.std) or [1.0] * count


def _places(own: Sequence[Column], other: Sequence[Column]) -> Iterator[int]:
    """Give for every number of the columns `own` its place among those of `other`, -1 for a word that is not there."""
    starts, start = {}, 0
    for column in other:
        starts[column.name] = (column, start)
        start += column.width
    for column in own:
        if column.name not in starts:
            raise InputError(
                f"the network takes the column '{column.name}', which the data lack.{nearest(column.name, starts)}"
            )
        found, first = starts[column.name]
        if (column.kind == "words") != (found.kind == "words"):
            raise InputError(
                f"the network takes the column '{column.name}' as {column.kind}, and it has {found.kind} in the data."
            )
        if column.kind != "words":
            yield first
        for word in column.words:
            yield first + found.words.index(word) if word in found.words else -1
