"""The two halves of a split: disjoint, whole, stratified, and the same for the same seed."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Examples, Field, classified, ragged
from tutelage.data._halves import halves


def labelled(labels: list[int]) -> Examples:
    names = tuple(str(one) for one in range(5))
    return classified(torch.arange(len(labels)).float().unsqueeze(1), torch.tensor(labels, dtype=torch.int64), names)


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(0, 2**31 - 1))
def test_halves_are_disjoint_whole_and_stratified(labels: list[int], seed: int) -> None:
    first, second = halves(labelled(labels), seed)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(labels)))
    assert first.tolist() == sorted(first.tolist()) and second.tolist() == sorted(second.tolist())
    assert len(first) - len(second) in (0, 1)
    for one in range(5):
        assert abs(sum(labels[row] == one for row in first) - sum(labels[row] == one for row in second)) <= 1


def test_halves_depend_on_the_seed_alone() -> None:
    examples = labelled([number % 5 for number in range(100)])
    assert halves(examples, 3)[0].tolist() == halves(examples, 3)[0].tolist() != halves(examples, 4)[0].tolist()


def test_examples_without_one_class_are_halved_too() -> None:
    tokens = Field(values=ragged([torch.arange(length) for length in (1, 3, 2, 4)]), kind="tokens", names=("a", "b", "c", "d"))
    tags = Field(
        values=ragged([torch.zeros(length, dtype=torch.int64) for length in (1, 3, 2, 4)]), kind="class", names=("x", "y")
    )
    first, second = halves(Examples(inputs={"tokens": tokens}, targets={"tag": tags}), 0)
    assert len(first) == len(second) == 2 and sorted([*first.tolist(), *second.tolist()]) == [0, 1, 2, 3]
