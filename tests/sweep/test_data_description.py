"""The description of the data that a plan contains and a sweep prints at its start."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.data import test_line_images
from tutelage.errors import InputError
from tutelage.sweep import data_description
from tutelage.training.context import TrainingContext


@pytest.fixture
def table(tmp_path: Path) -> TrainingContext:
    rows = range(60)
    frame = pd.DataFrame(
        {"id": rows, "age": [row % 9 for row in rows], "soil": ["clay", "sand"] * 30, "old": [True, False] * 30}
    )
    frame.assign(kind=[("ash", "elm", None)[row % 3] for row in rows]).to_csv(tmp_path / "trees.csv", index=False, sep=";")
    data = {"table": {"path": str(tmp_path / "trees.csv"), "label": "kind", "validation_share": 0.2}}
    return TrainingContext(data=data, task="tabular_classification", seed=0)


def test_the_description_has_classes_columns_and_inferred_settings(table: TrainingContext) -> None:
    assert data_description.sizes(table) == "train 48 (20 without a label), validation 8"
    assert data_description.lines(table) == [
        "classes of 'class', with their training labels: ash: 14, elm: 14",
        "columns: age (number), soil (words clay/sand), old (boolean)",
        "the delimiter is a semicolon",
        "splits: validation is 0.2 of each class, drawn by the seed; test is 0.1 of each class, drawn by the seed",
        "left out the column 'id': it numbers the rows",
        "8 of 8 validation examples are also in training, with the same inputs",
        "4 of 4 test examples are also in training, with the same inputs",
    ]


def test_images_are_described_by_their_shape(context: TrainingContext) -> None:
    found = data_description.document(context)
    assert found["inputs"] == ["input 'inputs': image 1×8×8"]
    assert list(found["classes"]["class"]) == list("0123456789")
    assert sum(found["classes"]["class"].values()) == len(context.splits["train"])


def test_classes_that_validation_lacks_and_repeated_sentences_are_noted(tmp_path: Path) -> None:
    for split, intents in (("train", ["play", "ask", "go"]), ("valid", ["play", "ask"])):
        (tmp_path / split).mkdir()
        (tmp_path / split / "seq.in").write_text("".join(f"{one} it {split * (one == 'ask')} now\n" for one in intents))
        (tmp_path / split / "seq.out").write_text("".join(f"O O{' O' * (one == 'ask')} O\n" for one in intents))
        (tmp_path / split / "label").write_text("".join(f"{one}\n" for one in intents))
    data = {"slots": {"path": str(tmp_path), "least_count": 1, "test_share": 0.2}}
    for split in ("seq.in", "seq.out", "label"):
        file = tmp_path / "train" / split
        file.write_text(file.read_text() * 5)
    found = data_description.document(TrainingContext(data=data, task="tagging", seed=0))
    assert "classes of 'intent' without an example in validation, with those in training: go (4)" in found["notes"]
    assert "1 of 2 validation examples are also in training, with the same inputs" in found["notes"]


def test_examples_and_errors_of_the_test_split_are_found_before_a_search(tmp_path: Path) -> None:
    for split, text in (("train", "good day\nbad day\n"), ("valid", "day\n"), ("test", "bad day\n")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "seq.in").write_text(text * (10 if split == "train" else 1))
        (tmp_path / split / "seq.out").write_text(
            "B-a O\nO O\n" * 10 if split == "train" else "O\n" if split == "valid" else "O O\n"
        )
        (tmp_path / split / "label").write_text("a\nb\n" * 10 if split == "train" else "a\n")
    context = TrainingContext(data={"slots": {"path": str(tmp_path)}}, task="tagging", seed=0)
    assert "1 of 1 test examples are also in training, with the same inputs" in data_description.lines(context)
    (tmp_path / "test" / "label").write_text("c\n")
    with pytest.raises(InputError, match=r"test/label, line 1: 'c' is not in training"):
        data_description.lines(context)


def test_classes_that_training_lacks_are_noted(tmp_path: Path) -> None:
    test_line_images.write(tmp_path, {f"{number}.png": chr(ord("a") + number) for number in range(12)})
    data = {"line_images": {"path": str(tmp_path), "validation_share": 0.2, "test_share": 0.2}}
    found = data_description.document(TrainingContext(data=data, task="ocr", seed=0))
    (note,) = [one for one in found["notes"] if one.startswith("classes of 'text' without a label in training")]
    assert [part[2:] for part in note.partition(", with those in validation: ")[2].split(", ")] == ["(1)"] * 2
