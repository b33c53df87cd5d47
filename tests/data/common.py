"""What the tests of every data source ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage import data
from tutelage.data import Split
from tutelage.errors import InputError


def refused(act: Callable[[], Any], *words: str) -> None:
    """Hold that `act` is refused in one message that has all of `words`."""
    with pytest.raises(InputError) as caught:
        act()
    for word in words:
        assert word in str(caught.value)


def cut(path: Path, kept: int) -> None:
    """Keep the first `kept` bytes of a file."""
    content = path.read_bytes()
    assert kept < len(content)
    path.write_bytes(content[:kept])


def assert_well_split(read: Callable[[int, Any], Split], validation_share: float, drawn: int) -> None:
    """Hold that validation has its share of each class of `drawn` rows, shares none with training, and follows the seed."""
    train, validation = read(0, "train"), read(0, "validation")
    counts, held = (torch.bincount(found.labels.flatten(), minlength=train.num_classes) for found in (train, validation))
    assert (held - validation_share * (counts + held)).abs().max() <= 1
    assert len(train) + len(validation) == drawn
    examples = [{tuple(row.flatten().tolist()) for row in found.inputs} for found in (train, validation)]
    assert not examples[0] & examples[1]
    assert data.fingerprint(read(0, "validation")) == data.fingerprint(validation)
    assert data.fingerprint(read(1, "validation")) != data.fingerprint(validation)
