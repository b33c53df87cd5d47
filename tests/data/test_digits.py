from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.data.common import assert_labels_are_left
from tutelage.data import digits


def example(folder: Path) -> dict[str, Any]:
    return {}


def test_the_split_stays_as_it_was_measured() -> None:
    train = digits.read(digits.Config(), 0, "train")
    assert len(train) == 1078
    assert torch.bincount(train.labels.flatten()).tolist() == [106, 110, 106, 110, 109, 109, 109, 107, 104, 108]


def test_labels_are_left_by_class_and_seed() -> None:
    assert_labels_are_left(lambda more, seed, split: digits.read(digits.Config(**more), seed, split))
