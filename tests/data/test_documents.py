"""Windows of documents, and windows packed into rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_characters import read, sequences, write
from tutelage.data._documents import document_windows, packed_rows
from tutelage.errors import InputError

TEXTS = st.text("ab\n", min_size=2, max_size=60)


@settings(max_examples=60)
@given(text=TEXTS, longest=st.integers(1, 8))
def test_each_character_but_the_first_is_predicted_once_by_its_own_document(text: str, longest: int) -> None:
    windows = document_windows(np.array([one == "\n" for one in text]), longest).tolist()
    predicted = [place for first, length in windows for place in range(first + 1, first + 1 + length)]
    assert predicted == list(range(1, len(text)))
    for first, length in windows:
        assert 1 <= length <= longest
        assert "\n" not in text[first + 1 : first + length], "a later input is no end of a document"


@settings(max_examples=60)
@given(text=TEXTS, longest=st.integers(1, 8))
def test_packed_rows_have_each_window_once_and_heads_first(text: str, longest: int) -> None:
    ends = np.array([one == "\n" for one in text])
    windows = document_windows(ends, longest)
    is_head = ~ends[windows[:, 0]]
    rows = packed_rows(windows[:, 1], is_head, longest)
    assert sorted(one for row in rows for one in row) == list(range(len(windows)))
    assert all(windows[row, 1].sum() <= longest for row in rows)
    assert not any(is_head[one] for row in rows for one in row[1:])
    assert all(row[int(is_head[row[0]]) :] == sorted(row[int(is_head[row[0]]) :]) for row in rows) and rows == sorted(rows)


def test_a_window_is_put_where_it_fits_best() -> None:
    sizes, nothing = np.array([6, 5, 4, 3, 2]), np.zeros(5, dtype=bool)
    assert packed_rows(sizes, nothing, 10) == [[0, 2], [1, 3, 4]]
    assert packed_rows(sizes, np.array([False, False, True, True, False]), 10) == [[2, 0], [3, 1, 4]]


def test_packed_rows_of_short_lines_are_nearly_full() -> None:
    sizes = np.random.default_rng(0).integers(1, 60, 3000)
    rows = packed_rows(sizes, np.zeros(3000, dtype=bool), 128)
    assert sizes.sum() / (128 * len(rows)) > 0.99


def test_lines_are_documents_and_only_training_rows_are_packed(tmp_path: Path) -> None:
    text = "abc\nde\nabcdefg\nb\n" + "ab\ncd\n" + "efg\nab\n"
    options = {"documents": "lines", "length": 6, "validation_share": 6 / 30, "test_share": 7 / 30}
    plain = read(write(tmp_path, text), **options)
    assert sequences(plain["train"], "tokens") == ["abc", "\nde", "\nabcde", "fg", "\nb"]
    assert sequences(plain["train"], "token") == ["bc\n", "de\n", "abcdef", "g\n", "b\n"]
    assert sequences(plain["validation"], "token") == ["b\n", "cd\n"]
    packed = read(write(tmp_path, text), packed=True, **options)
    assert sequences(packed["train"], "tokens") == ["abc\nde", "\nabcde", "fg\nb"]
    assert sequences(packed["train"], "token") == ["bc\nde\n", "abcdef", "g\nb\n"]
    assert sequences(packed["validation"], "token") == sequences(plain["validation"], "token")
    start = packed["train"].input_specs[0].document_start
    assert start == packed["validation"].input_specs[0].document_start == 0 and plain["train"].input_specs[0].names[0] == "\n"
    assert plain["train"].input_specs[0].document_start is None
    assert "train: packed into 3 rows of 6 characters, 88.9% of them filled" in packed["train"].notes


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("ab\n" * 20, {"packed": True}, "the windows of one text are full"),
        ("ab\n" * 20, {"documents": "lines", "stride": 2}, "'stride' overlaps the windows of one text"),
        ("ab" * 20, {"documents": "lines"}, "the training split has one line"),
    ],
)
def test_wrong_options_of_documents_are_errors(tmp_path: Path, text: str, options: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        read(write(tmp_path, text), **options)
