"""Batches of like length: every example once an epoch, little padding, and dense examples as they were."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Examples, Field, Ragged, classified, offsets_of
from tutelage.training.buckets import POOL, bucketed, by_length


def of_lengths(lengths: torch.Tensor) -> Examples:
    frames = Ragged(torch.zeros(int(lengths.sum()), 1), offsets_of(lengths))
    return Examples(inputs={"frames": Field(values=frames, kind="frames")}, targets={})


def drawn(seed: int, count: int) -> tuple[Examples, torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    examples = of_lengths(torch.randint(1, 40, (count,), generator=generator))
    return examples, torch.randperm(count, generator=generator), generator


@given(st.integers(0, 99), st.integers(1, 700), st.integers(1, 32))
def test_an_epoch_has_every_example_once_except_those_of_a_short_last_batch(seed: int, count: int, size: int) -> None:
    size = min(size, count)
    examples, order, generator = drawn(seed, count)
    batches = bucketed(examples, order, size, generator)
    assert {len(batch) for batch in batches} == {size}
    assert sorted(torch.cat(batches).tolist()) == sorted(order[: count // size * size].tolist())


def padding(examples: Examples, batches: list[torch.Tensor]) -> float:
    """Return the share of steps that are padding."""
    lengths = examples.lengths
    assert lengths is not None
    steps = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - sum(int(lengths[batch].sum()) for batch in batches) / steps


@pytest.mark.parametrize("seed", range(5))
def test_buckets_have_at_most_an_eighth_of_the_padding_of_a_random_order(seed: int) -> None:
    examples, order, generator = drawn(seed, 16 * POOL * 4)
    batches = bucketed(examples, order, 16, generator)
    assert padding(examples, batches) < padding(examples, list(order.split(16))) / 8
    firsts = [float(examples.lengths[batch].float().mean()) for batch in batches]  # type: ignore[index]
    assert firsts != sorted(firsts), "long examples do not come last"


@given(st.integers(0, 99), st.integers(1, 200), st.integers(1, 32))
def test_dense_examples_keep_the_random_order_and_use_no_more_random_numbers(seed: int, count: int, size: int) -> None:
    size, generator = min(size, count), torch.Generator().manual_seed(seed)
    examples = classified(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64), ("a",))
    order = torch.randperm(count, generator=generator)
    before = generator.get_state()
    batches = bucketed(examples, order, size, generator)
    assert all(map(torch.equal, batches, order[: count // size * size].split(size)))
    assert torch.equal(generator.get_state(), before)


def test_rows_are_sorted_by_length_and_ties_keep_their_order() -> None:
    examples = of_lengths(torch.tensor([3, 1, 2, 1]))
    assert by_length(examples, torch.tensor([0, 3, 2, 1])).tolist() == [3, 1, 2, 0]
