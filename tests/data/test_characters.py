"""A text is split by position; each character but a split's first is predicted once; unknown ones are errors or counted."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.common import assert_input_error
from tutelage.data import Examples, Ragged, characters, fingerprint
from tutelage.data.characters import UNKNOWN_CHARACTER, Config
from tutelage.errors import InputError
from tutelage.signature import InputSpec

SPLITS: tuple[Any, ...] = ("train", "validation", "test")
IS_DRAWN = False


def write(path: Path, text: str, name: str = "text.txt") -> str:
    (path / name).write_text(text, encoding="utf-8")
    return str(path / name)


def example(folder: Path) -> dict[str, Any]:
    generator = random.Random(0)
    text = "".join(generator.choice("abcd efg\n") for _ in range(4000))
    return {"path": write(folder, text), "length": 24, "validation_share": 0.1, "test_share": 0.1}


def read(path: str, **options: Any) -> dict[str, Examples]:
    config = Config(path=path, **{"length": 5, "validation_share": 0.25, "test_share": 0.25, **options})
    return {split: characters.read(config, 0, split) for split in SPLITS}


def sequences(examples: Examples, field: str) -> list[str]:
    """Return the strings of a field."""
    one = {**examples.inputs, **examples.targets}[field]
    assert isinstance(one.values, Ragged)
    values, offsets = one.values.values.tolist(), one.values.offsets.tolist()
    return ["".join(one.names[value] for value in values[a:b]) for a, b in pairwise(offsets)]


def test_the_splits_are_parts_of_the_text_and_labels_are_the_next_characters(tmp_path: Path) -> None:
    splits = read(write(tmp_path, "abcdefghijabcdefghij"))
    assert sequences(splits["train"], "tokens") == ["abcde", "fghi"] and sequences(splits["train"], "token") == [
        "bcdef",
        "ghij",
    ]
    assert sequences(splits["validation"], "tokens") == ["abcd"] and sequences(splits["validation"], "token") == ["bcde"]
    assert sequences(splits["test"], "token") == ["ghij"]
    assert splits["test"].targets["token"].names == splits["train"].inputs["tokens"].names == tuple("abcdefghij")
    assert "splits: characters in the order of the text: train 10, validation 5, test 5" in splits["train"].notes


TEXTS = st.text(alphabet="ab\n", min_size=12, max_size=80)


@settings(max_examples=25)
@given(text=TEXTS, length=st.integers(1, 9))
def test_every_character_but_the_first_of_a_split_is_predicted_once(
    tmp_path_factory: pytest.TempPathFactory, text: str, length: int
) -> None:
    text = "ab\n" + text
    path = write(tmp_path_factory.mktemp("text"), text)
    splits = read(path, length=length)
    whole = "".join("".join(sequences(splits[split], "token")) for split in SPLITS)
    firsts = [sequences(splits[split], "tokens")[0][0] for split in SPLITS]
    assert len(whole) == len(text) - 3
    rebuilt = "".join(first + "".join(sequences(splits[split], "token")) for first, split in zip(firsts, SPLITS, strict=True))
    assert rebuilt == text
    for examples in splits.values():
        lengths = examples.lengths
        assert lengths is not None and lengths.max() <= length and (lengths[:-1] == length).all()


@settings(max_examples=25)
@given(text=TEXTS, length=st.integers(2, 9), data=st.data())
def test_windows_of_a_stride_cover_training_and_none_lies_within_another(
    tmp_path_factory: pytest.TempPathFactory, text: str, length: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, length))
    path = write(tmp_path_factory.mktemp("text"), "ab\n" + text)
    plain, strided = read(path, length=length)["train"], read(path, length=length, stride=stride)["train"]
    windows = sequences(strided, "token")
    rebuilt = "".join(window[: stride if number < len(windows) - 1 else None] for number, window in enumerate(windows))
    assert rebuilt == "".join(sequences(plain, "token"))
    assert len(windows) == 1 or len(windows[-1]) > length - stride, "the last one reaches further than the one before"
    others = (read(path, length=length, **given)["validation"] for given in ({}, {"stride": stride}))
    assert fingerprint(next(others)) == fingerprint(next(others)), "only training windows overlap"


def test_windows_need_at_most_a_twentieth_of_padding(tmp_path: Path) -> None:
    config = Config(**example(tmp_path))
    masks = characters.read(config, 0, "train").take(slice(None)).masks["tokens"]
    assert 1 - masks.double().mean() <= 0.05


def test_unknown_characters_are_an_error_with_their_place_or_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "abab\nabab\nabz€zaaabbzb")
    assert_input_error(
        lambda: read(path),
        f"{path}, line 3: the validation split has characters that training lacks: 'z' (2), '€' (1)",
        "unknown: count",
    )
    splits = read(path, unknown="count")
    assert splits["train"].inputs["tokens"].names[0] == UNKNOWN_CHARACTER
    assert UNKNOWN_CHARACTER not in "".join(sequences(splits["train"], "tokens"))
    assert "".join(sequences(splits["validation"], "token")).count(UNKNOWN_CHARACTER) == 3
    assert "test: 1 of 6 characters are unknown" in splits["test"].notes


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path, "fghijac", "b.txt")
    write(tmp_path, "a\ncde", "a.txt")
    write(tmp_path, "cdefghij", "c.txt")
    assert sequences(read(str(tmp_path))["train"], "tokens") == ["a\ncde", "fghi"]
    write(tmp_path, "c\nZafgcd", "c.txt")
    assert_input_error(lambda: read(str(tmp_path)), str(tmp_path / "c.txt"), "line 2")


def test_a_line_does_not_go_on_in_the_next_file(tmp_path: Path) -> None:
    write(tmp_path, "ab", "a.txt")
    write(tmp_path, "cd\nabcdabcdab\nd", "b.txt")
    found = read(str(tmp_path), documents="lines")["train"]
    assert sequences(found, "tokens") == ["ab", "\ncd", "\nabc"] and sequences(found, "token")[0] == "b\n"
    assert sequences(read(str(tmp_path))["train"], "tokens") == ["abcd\n", "abc"], "a text goes on"


@pytest.mark.parametrize(("content", "words"), [
    (b"", ["is empty"]),
    (b"a" * 9 + b"\xff" * 9, ["is not UTF-8"]),
    (("ab\nab\ufffd" + "ab" * 9).encode(), ["line 2: has the character U+FFFD"]),
    (b"a" * 40, ["the training split has one character alone, 'a'"]),
    (b"abab", ["leave 1 for the validation split, which needs two at least"]),
])  # fmt: skip
def test_what_is_no_text_is_an_error(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    assert_input_error(lambda: read(str(path)), str(path), *words)


def test_a_path_without_a_text_is_an_error(tmp_path: Path) -> None:
    assert_input_error(lambda: read(str(tmp_path)), "has no .txt file")
    assert_input_error(lambda: read(str(tmp_path / "none.txt")), "none.txt")
    assert torch.is_tensor(read(**example(tmp_path))["train"].lengths)


def test_for_a_network_the_characters_are_its_own(tmp_path: Path) -> None:
    config = Config(path=write(tmp_path, "abcdefghijabcdefghij"), length=5, validation_share=0.25, test_share=0.25)

    def read_as(names: str, split: Any = "test") -> Examples:
        own = InputSpec(name="tokens", kind="tokens", shape=("steps",), dtype="int64", names=tuple(names))
        return characters.read_as(config, 0, split, [own])

    larger = read_as("abcdefghijxyz")
    assert sequences(larger, "tokens") == ["fghi"] and larger.targets["token"].names == tuple("abcdefghijxyz")
    assert "vocabulary: 13 characters that the network has" in larger.notes
    with pytest.raises(InputError, match=r"text.txt, line 1: the test split has characters that the network lacks: 'j' \(1\)"):
        read_as("abcdefghi")
    counting = read_as(UNKNOWN_CHARACTER + "abcdefgh")
    assert sequences(counting, "tokens") == [f"fgh{UNKNOWN_CHARACTER}"]
    assert read_as("ba").inputs["tokens"].names == tuple("abcdefghij"), "an order that this source does not make"
