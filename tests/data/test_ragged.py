"""Sequences of unequal length: padding changes no stored value."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Ragged, offsets_of, ragged

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=8)


def numbered(lengths: list[int], width: int = 2) -> Ragged:
    """Return sequences whose numbers are all different."""
    total = sum(lengths)
    return Ragged(torch.arange(total * width).view(total, width), offsets_of(torch.tensor(lengths)))


def rows_of(one: Ragged) -> list[list[list[int]]]:
    return [one.values[start:end].tolist() for start, end in zip(one.offsets, one.offsets[1:], strict=False)]


@given(LENGTHS, st.data())
def test_take_returns_the_sequences_of_the_rows_in_their_order(lengths: list[int], data: st.DataObject) -> None:
    whole = numbered(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=10))
    assert rows_of(whole.take(torch.tensor(rows, dtype=torch.int64))) == [rows_of(whole)[row] for row in rows]
    assert rows_of(whole.take(slice(1, None, 2))) == rows_of(whole)[1::2]


@given(LENGTHS)
def test_sequences_are_padded_at_the_end_and_the_mask_excludes_padding(lengths: list[int]) -> None:
    whole = numbered(lengths)
    padded, mask = whole.padded(-7)
    assert padded.shape == (len(lengths), max(1, *lengths), 2) and mask.sum(dim=1).tolist() == lengths
    assert (padded[~mask] == -7).all()
    again = ragged([row[real] for row, real in zip(padded, mask, strict=True)])
    assert torch.equal(again.values, whole.values) and torch.equal(again.offsets, whole.offsets)


def test_values_and_offsets_must_agree() -> None:
    with pytest.raises(AssertionError):
        Ragged(torch.zeros(3), torch.tensor([0, 2]))
    with pytest.raises(AssertionError):
        Ragged(torch.zeros(2), torch.tensor([0, 2], dtype=torch.int32))


def test_zero_sequences_are_padded_to_one_step() -> None:
    padded, mask = numbered([1, 2]).take(slice(0, 0)).padded()
    assert padded.shape == (0, 1, 2) and mask.shape == (0, 1)
