"""Features of networks of other strides are compared at the same places, whatever padding stands beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.test_plugins import summarised
from tutelage import plugins
from tutelage.losses import needs_of
from tutelage.losses._grids import restepped
from tutelage.networks.output import Outline, Output, Stage

WIDTHS = (9, 16)  # columns of two examples


def test_coarser_steps_are_means_of_the_real_steps_and_finer_ones_repeat_them() -> None:
    values, mask = torch.tensor([[1.0, 3.0, 5.0, 7.0, 9.0]]), torch.tensor([[True, True, True, False, False]])
    clean = values.where(mask, 0.0)
    assert restepped(clean, mask, 3).tolist() == [[2.0, 5.0, 0.0]]
    assert restepped(values, None, 3).tolist() == [[2.0, 6.0, 9.0]]
    assert restepped(values, None, 9).tolist() == [[1.0, 1.0, 3.0, 3.0, 5.0, 5.0, 7.0, 7.0, 9.0]]
    assert restepped(values.unsqueeze(2), None, 5).shape == (1, 5, 1)


def outline(*strides: int) -> Outline:
    stages = tuple(
        Stage(name=f"stage{number}", grid=(-(-12 // stride),), channels=3, has_steps=True)
        for number, stride in enumerate(strides, start=1)
    )
    return Outline(classes=3, stages=stages)


def output(strides: tuple[int, ...], columns: int, filling: float, seed: int) -> Output:
    """Return features at each stride for examples of `WIDTHS`; they do not depend on how many columns are padding."""
    mask = torch.arange(columns) < torch.tensor(WIDTHS).unsqueeze(1)
    features = {}
    for number, stride in enumerate(strides, start=1):
        real = mask[:, ::stride]
        drawn = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(seed + number), dtype=torch.double)
        features[f"stage{number}"] = drawn[:, : real.shape[1]].where(real.unsqueeze(2), filling)
    return summarised(Output(logits=torch.zeros(2, 1, 3), features=features, input_mask=mask), mask[:, :1])


def compared(name: str) -> bool:
    """Return whether a loss compares features or maps at positions, as it is without options."""
    return bool(needs_of(*plugins.configure("losses", name)[1:]) & {"features", "maps"})


NAMES = [name for name in plugins.names("losses") if name not in ("mixture", "cross_kd") and compared(name)]


def test_losses_of_features_are_found() -> None:
    assert set(NAMES) >= {"attention", "fgd", "fitnet", "hidden", "pkd", "review", "similarity"}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(own=st.sampled_from([(1, 2), (2, 4), (4, 4)]), other=st.sampled_from([(1, 1), (2, 2), (4, 8)]), more=st.integers(0, 9))
def test_a_loss_of_features_takes_other_strides_and_does_not_depend_on_padding(
    name: str, own: tuple[int, ...], other: tuple[int, ...], more: int
) -> None:
    _, plugin, config = plugins.configure("losses", name)

    def value(columns: int, filling: float) -> Any:
        torch.manual_seed(0)
        loss = plugin.build(config, 1.0, outline(*own), outline(*other)).double()
        return loss(output(own, columns, filling, 0), output(other, columns, filling, 9))

    expected = value(16, 0.0)
    assert expected.isfinite() and expected > 0
    torch.testing.assert_close(value(16 + more, float("nan")), expected)
