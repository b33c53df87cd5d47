"""A batch's own shapes tell the stride of a network's steps, and with it which of them are real."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import InputError
from tutelage.masks import at_stride, mask_of_steps, stride_between


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), more=st.integers(0, 7), stride=st.sampled_from([1, 2, 4, 8])
)
def test_an_example_has_as_many_real_steps_alone_as_beside_longer_ones(lengths: list[int], more: int, stride: int) -> None:
    positions = max(lengths) + more
    mask = torch.arange(positions) < torch.tensor(lengths).unsqueeze(1)
    found = at_stride(mask, -(-positions // stride))
    assert found.shape == (len(lengths), -(-positions // stride))
    assert found.sum(dim=1).tolist() == [-(-length // stride) for length in lengths]


@given(positions=st.integers(1, 200), steps=st.integers(1, 200))
def test_a_stride_is_the_smallest_power_of_two_that_gives_the_steps(positions: int, steps: int) -> None:
    fitting = [stride for stride in (2**power for power in range(9)) if -(-positions // stride) == steps]
    assert stride_between(positions, steps) == (fitting[0] if fitting else None)


def test_a_mask_of_so_many_steps_comes_before_one_at_a_stride() -> None:
    wide, narrow = torch.ones(1, 8, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)
    assert mask_of_steps(4, wide, narrow) is narrow
    found = mask_of_steps(4, None, wide)
    assert found is not None and found.shape == (1, 4)
    assert mask_of_steps(3, wide, None) is None
    with pytest.raises(InputError, match="3 steps for 8 positions"):
        at_stride(wide, 3)
