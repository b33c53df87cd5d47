"""Texts of any script that puts blanks between words are split into these words; signs stand alone."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data._word_pattern import words_in

FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't go, it’s 3.5!", ["don't", "go", ",", "it’s", "3", ".", "5", "!"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("می\N{ZERO WIDTH NON-JOINER}خواهم بروم", ["می\N{ZERO WIDTH NON-JOINER}خواهم", "بروم"]),
        ("cafe\N{COMBINING ACUTE ACCENT} noir", ["café", "noir"]),
        (f"{FAMILY} home \N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", [FAMILY, "home", "❤️"]),
        ("天気は どう?", ["天気は", "どう", "?"]),
        ("\0 \N{ZERO WIDTH SPACE}", ["\0", "\N{ZERO WIDTH SPACE}"]),
        (" \t\u2028", []),
    ],
)
def test_words_keep_their_marks_and_signs_stand_alone(text: str, words: list[str]) -> None:
    assert words_in(text) == words


@given(st.text(max_size=30))
def test_nothing_but_blanks_is_lost(text: str) -> None:
    assert "".join(words_in(text)) == "".join(unicodedata.normalize("NFC", text).split())


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=30))
def test_a_text_without_marks_is_split_as_by_letters_alone(text: str) -> None:
    assert words_in(text) == re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", unicodedata.normalize("NFC", text))
