"""Text that others chose (names of classes, files, trials, licences) made harmless for the place where it is shown.

HTML has its own function, `html.escape`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠\t\r]")
_WITHIN = re.compile(r"([;\t\r\n])(?=\s*[=+\-@＝＋－＠])")  # where a spreadsheet may split a cell
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|#~$])")
_LINE_START = re.compile(r"^(\d{0,9})([.)+=-])(?=\s|$|[=-])")  # of a list, a rule or a heading's underline
_REORDERS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def for_terminal(text: str) -> str:
    """Return a text in which nothing commands a terminal: control characters and those that reorder text are spelled out.

    Line ends and tabs stay. `\\x1b` is shown for an escape, and half a surrogate pair, which cannot be printed, likewise.
    """
    return "".join(character if _is_plain(character) else _spelled(character) for character in text)


def _is_plain(character: str) -> bool:
    return character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs") and character not in _REORDERS)


def _spelled(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def visible(name: str) -> str:
    """Return a name, quoted and spelled out where a part of it could not be seen: it is empty, or blank at an end."""
    return name if name and name.isprintable() and name == name.strip() else repr(name)


def for_markdown(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is: no mark-up, no HTML, no further line or column."""
    line = " ".join(for_terminal(text).split())
    return _LINE_START.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", html.escape(line, quote=False)))


def markdown_code(text: str) -> str:
    """Return a text as code in a line of Markdown, in a fence that is longer than any in it."""
    line = " ".join(for_terminal(text).split()).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    padding = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def for_csv(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: before text that begins like one stands an apostrophe.

    So it does within a cell after a semicolon, a tab or the end of a line, where some split it. Numbers stay, also as text.
    """
    if not isinstance(value, str) or _is_number(value):
        return value
    cell = f"'{value}" if _FORMULA.match(value) else value
    return _WITHIN.sub(r"\1'", cell.replace("\r\n", "\n").replace("\r", "\n"))  # a carriage return alone would not be quoted


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


def for_matplotlib(text: str) -> str:
    """Return a text that matplotlib draws as it is: a dollar sign begins no formula."""
    return text.replace("$", r"\$")
