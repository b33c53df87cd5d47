from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.data.common import assert_labels_are_retained
from tests.plain import Plain
from tutelage.data import digits


def read(config: digits.Config, seed: int, split: Any) -> Plain:
    return Plain(digits.read(config, seed, split))


def example(folder: Path) -> dict[str, Any]:
    return {}


def test_the_split_of_the_benchmarks_does_not_change() -> None:
    train = read(digits.Config(), 0, "train")
    assert len(train) == 1078
    assert torch.bincount(train.labels.flatten()).tolist() == [106, 110, 106, 110, 109, 109, 109, 107, 104, 108]


def test_labels_are_retained_by_class_and_seed() -> None:
    assert_labels_are_retained(lambda more, seed, split: read(digits.Config(**more), seed, split))
