"""Texts are read from JSON lines and tables with the words and classes of training; wrong lines are named at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from tests.data.common import assert_input_error
from tutelage.data import UNKNOWN, Examples, Ragged, text
from tutelage.signature import InputSpec

WORDS = ("fine", "grand", "poor", "bad")


def pair(number: int) -> tuple[str, Any]:
    return f"A {WORDS[number % 4]} film, isn't it {number}?", ("good", "bad")[number % 4 // 2]


def write(path: Path, pairs: list[tuple[Any, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps({"text": words, "label": label}) for words, label in pairs))
    return path


def example(folder: Path) -> dict[str, Any]:
    path = write(folder / "all.jsonl", [pair(number) for number in range(120)])
    return {"path": str(path), "least_count": 1, "validation_share": 0.2, "test_share": 0.2}


def read(path: Path, split: Any = "train", **options: Any) -> Examples:
    return text.read(text.Config(path=str(path), **options), 0, split)


def words_of(examples: Examples, row: int = 0) -> list[str]:
    field = examples.inputs["tokens"]
    assert isinstance(field.values, Ragged)
    return [field.names[token] for token in field.take(slice(None))[0][row][: field.values.lengths[row]].tolist()]


def classes_of(examples: Examples) -> list[int]:
    found: list[int] = examples.targets["class"].take(slice(None))[0].tolist()
    return found


def test_words_are_in_lower_case_with_punctuation_apart(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [pair(number) for number in range(40)])
    write(tmp_path / "valid.jsonl", [("A GRAND film, isn't it?", "good")])
    found = read(tmp_path, "validation")
    assert words_of(found) == ["a", "grand", "film", ",", "isn't", "it", "?"]
    assert found.targets["class"].names == ("bad", "good") and classes_of(found) == [1]
    assert words_of(read(tmp_path, "validation", lowercase=False))[:2] == ["A", "<unknown>"]
    assert any("validation is stored separately" in note for note in found.notes)


def test_a_text_may_hold_other_line_separators_than_line_feeds(tmp_path: Path) -> None:
    lines = [f'{{"text": "a\u2028fine\x85film {number}", "label": "{("good", "bad")[number % 2]}"}}' for number in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert words_of(read(tmp_path / "train.jsonl"))[:3] == ["a", "fine", "film"]


def test_a_table_is_read_as_json_lines_are(tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(40)]
    one = read(write(tmp_path / "a.jsonl", pairs))
    (tmp_path / "a.csv").write_text("\n".join(["id,text,label", *(f'{n},"{w}",{c}' for n, (w, c) in enumerate(pairs))]))
    other = read(tmp_path / "a.csv")
    assert [words_of(other, row) for row in range(len(other))] == [words_of(one, row) for row in range(len(one))]
    assert classes_of(other) == classes_of(one)


def test_whole_numbers_are_classes_and_empty_labels_of_training_are_unlabelled(tmp_path: Path) -> None:
    pairs = [(words, None if number == 3 else number % 2) for number, (words, _) in enumerate(map(pair, range(40)))]
    found = read(write(tmp_path / "a.jsonl", pairs))
    assert found.targets["class"].names == ("0", "1") and classes_of(found).count(UNKNOWN) == 1
    write(tmp_path / "b" / "train.jsonl", pairs)
    write(tmp_path / "b" / "test.jsonl", [("fine", None)])
    assert_input_error(
        lambda: read(tmp_path / "b", "test"), "test.jsonl, line 1: the label '' is not in training. Only training texts"
    )


def test_all_wrong_texts_are_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [(7, "good"), (" ", "good"), ("fine", 0.5), ("fine " * 9, "bad"), pair(0)])
    path.write_text(path.read_text() + '\n{"text": \n["fine"]\n{"txt": "fine", "label": "bad"}')
    assert_input_error(
        lambda: read(path, longest=8), "7 of 8 texts", "line 1: 'text' is 7, no text", "line 2: has no words",
        "line 3: 'label' is 0.5, no class", "line 4: has 9 words", "line 6: is not JSON", "line 7: is not an object",
        "line 8: has no 'text'; its keys are ", "Did you mean 'txt'",
    )  # fmt: skip


def test_lines_that_no_reader_can_use_are_errors_with_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [pair(number) for number in range(4)])
    half = '{"text": "fine \\ud800", "label": "good"}'
    path.write_text("\n".join([path.read_text(), "", "[" * 100_000, half, '{"text": "fine", "label": "\\udc00"}', ""]))
    assert_input_error(
        lambda: read(path), "4 of 8 texts", "line 5: is empty. Remove it.", "line 6: is not JSON",
        "line 7: 'text' has half of a surrogate pair", "line 8: 'label' has half of a surrogate pair",
    )  # fmt: skip


def test_words_for_missing_values_are_classes_and_texts_of_a_table(tmp_path: Path) -> None:
    rows = [f"{('null', 'fine')[number % 2]} {number},{('None', 'NA')[number % 2]}" for number in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows, "null,None", "fine,"]))
    found = read(tmp_path / "a.csv")
    assert found.targets["class"].names == ("NA", "None") and classes_of(found).count(UNKNOWN) == 1
    assert "null" in found.inputs["tokens"].names


def test_whole_numbers_with_missing_ones_are_classes_of_a_parquet_table(tmp_path: Path) -> None:
    labels = [None if number == 3 else number % 2 for number in range(40)]
    pd.DataFrame({"text": [pair(number)[0] for number in range(40)], "label": labels}).to_parquet(tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found.targets["class"].names == ("0", "1") and classes_of(found).count(UNKNOWN) == 1
    pd.DataFrame({"text": ["fine"] * 9, "label": [b"good"] * 9}).to_parquet(tmp_path / "b.parquet")
    assert_input_error(lambda: read(tmp_path / "b.parquet"), "row 1: 'label' is b'good', no class")


def test_one_column_is_not_text_and_class_and_one_word_at_least_is_known(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="'text' and 'label' are both 'label'"):
        text.Config(path="a.csv", text="label")
    path = write(tmp_path / "a.jsonl", [(f"word{number}", "ab"[number % 2]) for number in range(20)])
    assert_input_error(lambda: read(path), str(path), "words stands 2 times in training", "set 'characters'")
    assert read(path, characters=3).inputs["tokens"].names[0] == read(path, least_count=1).inputs["tokens"].names[0]


def test_long_texts_are_cut_by_choice_and_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [pair(number) for number in range(40)])
    found = read(path, longest=3, longer="truncate")
    assert words_of(found)[0] == "a" and len(words_of(found)) == 3
    assert found.notes[-1].startswith("cut to 3 words: 40 texts of")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,class\nfine,good\n", "has no column 'label'"),
        ("a.jsonl", '{"text": "fine", "label": "good"}\n' * 9, "only the class 'good'"),
        ("a.jsonl", '{"text": "fine", "label": ""}\n' * 9, "no training example has a label"),
        ("a.jsonl", "", "has no texts"),
    ],
)
def test_what_makes_no_data_is_an_error(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    assert_input_error(lambda: read(tmp_path / name), message)


def test_a_folder_has_one_file_a_split(tmp_path: Path) -> None:
    assert_input_error(lambda: read(tmp_path), "has no training file")
    write(tmp_path / "valid.jsonl", [pair(0)])
    assert_input_error(lambda: read(tmp_path), "has valid.jsonl, but no train file")
    write(tmp_path / "train.jsonl", [pair(number) for number in range(40)])
    write(tmp_path / "dev.ndjson", [pair(0)])
    assert_input_error(lambda: read(tmp_path), "dev.ndjson and valid.jsonl are both validation files")


def test_for_a_network_the_words_are_its_own_and_others_are_the_unknown_word(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [pair(number) for number in range(40)])
    own = InputSpec(name="tokens", kind="tokens", shape=("steps",), dtype="int64", names=("<unknown>", "film", "a"))
    found = text.read_as(text.Config(path=str(path)), 0, "test", [own])
    assert words_of(found)[:3] == ["a", "<unknown>", "film"] and found.inputs["tokens"].names == own.names
    assert any(note.startswith("vocabulary: 2 words of the network; ") for note in found.notes)


def write_folder(folder: Path, count: int, first: int = 0) -> None:
    """Write `count` texts, each in a file in the folder of its class."""
    for number in range(first, first + count):
        words, label = pair(number)
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{number}.txt").write_text(words + "\nSecond line.")


def test_folders_of_classes_hold_a_file_a_text(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 40)
    write_folder(tmp_path / "test", 4)
    (tmp_path / "train/unlabelled/deeper").mkdir(parents=True)
    (tmp_path / "train/unlabelled/deeper/1").write_text("A word")
    (tmp_path / "train/good/read.me").touch()
    found = read(tmp_path, "test")
    assert words_of(found)[-4:] == ["?", "second", "line", "."]
    assert classes_of(found) == [0, 0, 1, 1] and found.targets["class"].names == ("bad", "good")
    assert "left out the files that are in no class or no text: 1 with .me" in found.notes
    training = read(tmp_path)
    assert classes_of(training)[-1] == UNKNOWN and len(training) + len(read(tmp_path, "validation")) == 41


def test_one_folder_of_classes_is_split_by_the_seed(tmp_path: Path) -> None:
    write_folder(tmp_path, 40)
    sizes = [len(read(tmp_path, split, validation_share=0.2, test_share=0.2)) for split in ("train", "validation", "test")]
    assert sizes == [24, 8, 8]


def test_all_wrong_files_of_all_splits_are_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", 40)
    write_folder(tmp_path / "test", 4)
    for number in (4, 5, 6):
        (tmp_path / f"train/good/{4 * number}.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "test/bad/2.txt").write_text(" ")
    assert_input_error(lambda: read(tmp_path), "texts cannot be read", "16.txt", "as UTF-8", "test/bad/2.txt: has no words")
    (tmp_path / "train/empty").mkdir()
    assert_input_error(lambda: read(tmp_path), "train/empty: has no text")
