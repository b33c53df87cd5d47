"""Hidden states: the places that layers are compared with, and the loss against its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import hidden
from tutelage.networks.output import Outline, Output, Stage


def outline(count: int, channels: int = 4, positions: int = 3) -> Outline:
    stages = (Stage(name=f"stage{i}", grid=(positions,), channels=channels) for i in range(1, count + 1))
    return Outline(classes=3, stages=tuple(stages))


def output(own: Outline, seed: int = 0) -> Output:
    generator = torch.Generator().manual_seed(seed)
    features = {
        stage.name: torch.randn(2, stage.positions, stage.channels, generator=generator) for stage in own.stages
    }  # fmt: skip
    return Output(logits=torch.zeros(2, 1, 3), features=features)


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (5, 12, [2.4, 4.8, 7.2, 9.6, 12]),
        (4, 12, [3, 6, 9, 12]),
        (3, 3, [1, 2, 3]),
        (2, 1, [1, 1]),
        (4, 2, [1, 1, 1.5, 2]),
        (1, 7, [7]),
    ],
)
def test_layers_are_compared_at_the_same_relative_depth(own: int, other: int, expected: list[float]) -> None:
    loss: Any = hidden.build(hidden.Config(), 1.0, outline(own), outline(other))
    places = [int(place.before.name.removeprefix("stage")) + place.share for _, place in loss.places]
    assert places == pytest.approx(expected)


def test_between_two_layers_the_target_is_their_interpolation() -> None:
    own, other = outline(5, channels=6), outline(12)
    torch.manual_seed(0)
    loss: Any = hidden.build(hidden.Config(), 1.0, own, other)
    student, teacher = output(own), output(other, seed=1)
    expected = []
    for number, (depth, adapter) in enumerate(zip([2.4, 4.8, 7.2, 9.6, 12.0], loss.adapters, strict=True), start=1):
        first, share = int(depth), depth % 1
        target = (1 - share) * teacher.features[f"stage{first}"] + share * teacher.features[f"stage{min(12, first + 1)}"]
        adapted = student.features[f"stage{number}"] @ adapter.weight.T + adapter.bias
        expected.append((adapted - target).square().sum() / target.square().sum())
    torch.testing.assert_close(loss(student, teacher), torch.stack(expected).mean())


def test_layers_of_other_shapes_are_not_interpolated_and_the_nearer_one_counts() -> None:
    grids = [(8, 8), (4, 4), (4, 4), (2, 2)]
    other = tuple(Stage(name=f"stage{i}", grid=grid, channels=4) for i, grid in enumerate(grids, start=1))
    found = [hidden.place_of(number, 3, other) for number in (1, 2, 3)]  # places 1.33, 2.67 and 4
    assert [(one.before.name, one.after.name) for one in found] == [
        ("stage1", "stage1"), ("stage2", "stage3"), ("stage4", "stage4"),
    ]  # fmt: skip
    half = [Stage(name=f"stage{i}", grid=(i,), channels=4) for i in (1, 2, 3)]
    assert hidden.place_of(1, 2, tuple(half)).after.name == "stage2", "of two equally near ones the deeper"


def test_a_network_without_layers_is_an_error() -> None:
    with pytest.raises(
        InputError, match=r"loss 'hidden' compares stages, and the teacher has none.* tensors by its option features"
    ):
        hidden.build(hidden.Config(), 1.0, outline(2), outline(0))
