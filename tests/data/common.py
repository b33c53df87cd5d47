"""Checks that the tests of the data sources share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plain import Plain
from tutelage import data
from tutelage.data import UNKNOWN
from tutelage.errors import InputError


def fingerprint(split: Plain) -> str:
    return data.fingerprint(split.examples)


def assert_input_error(act: Callable[[], Any], *words: str) -> None:
    """Assert that `act` raises an `InputError` whose message has all of `words`."""
    with pytest.raises(InputError) as caught:
        act()
    for word in words:
        assert word in str(caught.value)


def cut(path: Path, kept: int) -> None:
    """Cut a file to its first `kept` bytes."""
    content = path.read_bytes()
    assert kept < len(content)
    path.write_bytes(content[:kept])


def assert_well_split(read: Callable[[int, Any], Plain], validation_share: float, drawn: int) -> None:
    """Assert that validation has its share of each class of `drawn` rows and follows the seed.

    It is disjoint from training, whose mean and deviation normalise both.
    """
    train, validation = read(0, "train"), read(0, "validation")
    counts, held = (torch.bincount(found.labels.flatten(), minlength=train.num_classes) for found in (train, validation))
    assert (held - validation_share * (counts + held)).abs().max() <= 1
    assert len(train) + len(validation) == drawn
    assert (validation.mean, validation.std) == (train.mean, train.std), "every split is normalised by training"
    seen = train.seen().transpose(0, 1).flatten(1)
    assert all(abs(float(seen[c].mean())) < 1e-3 for c, mean in enumerate(train.mean) if mean), "and by nothing else"
    examples = [{tuple(row.flatten().tolist()) for row in found.inputs} for found in (train, validation)]
    assert not examples[0] & examples[1]
    assert fingerprint(read(0, "validation")) == fingerprint(validation)
    assert fingerprint(read(1, "validation")) != fingerprint(validation)


def assert_labels_are_retained(read: Callable[[dict[str, Any], int, Any], Plain]) -> None:
    """Assert that `labelled_per_class` hides training labels by class and seed, and changes nothing else; it may be 0."""
    whole, few, fewer, none = (read({"labelled_per_class": number}, 0, "train") for number in (None, 6, 3, 0))
    counts = torch.bincount(few.labels[few.labelled].flatten(), minlength=few.num_classes)
    assert counts.tolist() == [6] * few.num_classes
    assert whole.num_labelled == len(whole) == len(few) and none.num_labelled == 0
    assert torch.equal(whole.inputs, few.inputs) and few.class_names == none.class_names == whole.class_names
    assert torch.equal(few.labels[few.labelled], whole.labels[few.labelled])
    assert fewer.num_labelled == 3 * few.num_classes and not (fewer.labelled & ~few.labelled).any()
    assert (few.labels[~few.labelled] == UNKNOWN).all()
    assert not torch.equal(read({"labelled_per_class": 6}, 1, "train").labels, few.labels)
    assert fingerprint(few) != fingerprint(whole)
    for split in ("validation", "test"):
        assert fingerprint(read({"labelled_per_class": 3}, 0, split)) == fingerprint(read({}, 0, split))


def assert_unlabelled_are_training_examples(before: Callable[[Any], Plain], after: Callable[[Any], Plain], more: int) -> None:
    """Assert that `more` unlabelled examples are training examples, and that the splits of the others do not change."""
    assert len(after("train")) == len(before("train")) + more
    assert after("train").num_labelled == len(before("train"))
    assert after("train").class_names == before("train").class_names
    assert fingerprint(after("train")) != fingerprint(before("train"))
    for split in ("validation", "test"):
        assert torch.equal(after(split).labels, before(split).labels)
