"""Slots in sequences of IOB labels, counted as the CoNLL-2000 shared task does (its program `conlleval`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.errors import InputError, first_names

_OUTSIDE, _PREFIXES = "O", ("B", "I", "E", "S")


class Chunks(NamedTuple):
    """The slots of sentences `[batch, steps]`: where one starts, and at every step its type and the step at which it ends.

    Types and ends count only where a slot starts.
    """

    starts: Tensor
    types: Tensor
    ends: Tensor


def check_names(names: Sequence[str], where: str) -> None:
    """Raise `InputError` for slot labels that are not `O`, or a type behind `B-` or `I-` (also `E-`, `S-`), or are all `O`."""
    if set(names) == {_OUTSIDE}:
        raise InputError(
            f"{where}: each token of training has the slot label O, so there is no slot to find. Label the tokens of slots, or "
            "read the sentences by `intents`, with task: text_classification."
        )
    wrong = [name for name in names if name != _OUTSIDE and not (name[:1] in _PREFIXES and name[1:2] == "-" and name[2:])]
    if wrong:
        listed = first_names([f"'{name}'" for name in wrong])
        raise InputError(
            f"{where}: the slot labels {listed} are not in the IOB format. Write O for a token outside of slots, B-<type> for "
            "the first token of a slot, and I-<type> for the others."
        )


def counts(found: Tensor, true: Tensor, real: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return (correct, found, true) slots of every sentence, float64 `[batch, 3]`.

    `found` and `true` are indices in `names`, int64 `[batch, steps]`; steps where `real` is False are outside of slots. A slot
    is correct if one of the same type starts and ends at the same steps.
    """
    one, other = chunks_of(found, real, names), chunks_of(true, real, names)
    right = one.starts & other.starts & (one.types == other.types) & (one.ends == other.ends)
    return torch.stack([slots.sum(dim=1) for slots in (right, one.starts, other.starts)], dim=1).double()


def chunks_of(labels: Tensor, real: Tensor, names: tuple[str, ...]) -> Chunks:
    """Return the slots in `labels`, int64 indices in `names` `[batch, steps]`.

    A slot starts at `B` and `S`, after `E` and `S`, where the type changes, and at any label after `O`; so `I` can start one.
    """
    prefixes, types = (table.to(labels.device)[labels.where(real, -1)] for table in _tables(names))
    is_inside = prefixes != _code(_OUTSIDE)
    before, type_before = (_shifted(one, fill) for one, fill in ((prefixes, _code(_OUTSIDE)), (types, -1)))
    begins = (prefixes == _code("B")) | (prefixes == _code("S"))
    is_after_end = (before == _code(_OUTSIDE)) | (before == _code("E")) | (before == _code("S"))
    starts = is_inside & (begins | is_after_end | (types != type_before))
    steps = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    stops = torch.where(starts | ~is_inside, steps, labels.shape[1])  # the steps at which a slot before them has ended
    following = torch.cat([stops[:, 1:], torch.full_like(stops[:, :1], labels.shape[1])], dim=1)
    ends = following.flip(1).cummin(dim=1).values.flip(1)
    return Chunks(starts, types, ends)


def _shifted(values: Tensor, fill: int) -> Tensor:
    """Return `[batch, steps]` with each value one step later, and `fill` at the first step."""
    return torch.cat([torch.full_like(values[:, :1], fill), values[:, :-1]], dim=1)


def _code(prefix: str) -> int:
    return (_OUTSIDE, *_PREFIXES).index(prefix)


@cache
def _tables(names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return the prefix and the type of each label; one more, at the index -1, is outside of slots."""
    split = [name.partition("-") for name in (*names, _OUTSIDE)]
    types = sorted({kind for _, _, kind in split})
    return torch.tensor([_code(one[0]) for one in split]), torch.tensor([types.index(one[2]) for one in split])
