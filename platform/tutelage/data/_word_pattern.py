"""The words and punctuation marks of a text, in any script that puts blanks between words."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # within words of Persian and Hindi, and within emoji
_WITH_MARKS = (range(0x300, 0x20000), range(0xE0100, 0xE01F0))  # code points among which all combining marks are


def words_in(text: str) -> list[str]:
    """Return the words of a text with their apostrophes, each other sign as a word of its own; composed (NFC).

    Combining marks, such as the vowels of Hindi and Thai, belong to their word or sign, as does what a joiner joins.
    """
    found: list[str] = _pattern().findall(unicodedata.normalize("NFC", text))
    return found


@cache
def _pattern() -> re.Pattern[str]:
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in _marks())
    letters, sign = rf"[\w{marks}]+", rf"[^\w\s{marks}][{marks}]*"
    return re.compile(rf"{letters}(?:['’{_JOINERS}]{letters})*|{sign}(?:\N{{ZERO WIDTH JOINER}}{sign})*")


def _marks() -> list[tuple[int, int]]:
    """Return the first and last code point of each run of combining marks, which `\\w` does not have."""
    runs: list[tuple[int, int]] = []
    for point in (point for some in _WITH_MARKS for point in some if unicodedata.category(chr(point))[0] == "M"):
        if runs and runs[-1][1] == point - 1:
            runs[-1] = (runs[-1][0], point)
        else:
            runs.append((point, point))
    return runs
