"""Text that others chose is shown as it is, and does nothing."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tutelage.escaping import for_csv, for_markdown, for_matplotlib, for_terminal, markdown_code, visible

HOSTILE = [
    "<script>alert(1)</script>", "![x](http://e/x.png)", "[a](javascript:x)", "a|b", "a\nb", "# h", "`code`", "``",
    "*b* _i_ ~~s~~",
    "\x1b[31mred\x1b]0;title\x07", "&lt;", "\u202eevil", "$x$", "a\\", "- x", "1. x", "---", "===", "+",
    "https://example.org", "",
]  # fmt: skip


@given(st.text(st.characters(), max_size=40))
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    shown = for_terminal(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert for_terminal(shown) == shown
    shown.encode()


def test_plain_text_in_any_language_stays() -> None:
    for text in ("Größe ± 3 µs", "日本語", "عربى", "a\tb\n", "🙂"):
        assert for_terminal(text) == text
    assert for_terminal("\x1b[2J\u202e\udcff") == "\\x1b[2J\\u202e\\udcff"


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_text_and_no_mark_up(text: str) -> None:
    line = f"| x {for_markdown(text)} | {markdown_code(text)} |"
    rendered = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n|---|---|\n{line}\n")
    tags = set(re.findall(r"<(\w+)", rendered))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert rendered.count("<td") == 2, "no further column"


@pytest.mark.parametrize("text", [*HOSTILE, "-1.5", "0.94", "3) x"])
def test_a_line_of_markdown_is_a_paragraph(text: str) -> None:
    rendered = MarkdownIt("commonmark").render(f"x\n{for_markdown(text)}\n\n{for_markdown(text)}\n")
    assert set(re.findall(r"<(\w+)", rendered)) == {"p"}
    assert for_markdown("0.94") == "0.94" and for_markdown("-1.5") == "-1.5"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("@SUM(A1)", "'@SUM(A1)"), ("-x", "'-x"),
        ("\t=1", "'\t'=1"), ("x;=1", "x;'=1"), ("x\r=1", "x\n'=1"),
        (" =1", "' =1"), ("-1.5", "-1.5"), (-1.5, -1.5), ("mlp", "mlp"), ("", ""), (None, None),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(value: object, expected: object) -> None:
    assert for_csv(value) == expected


def drawn(title: str, **options: Any) -> bytes:
    """Return the pixels of a figure with this title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = FigureCanvasAgg(Figure(figsize=(3, 1)))
    canvas.figure.suptitle(title, **options)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


def test_a_title_with_dollar_signs_is_drawn_as_plain_text() -> None:
    title = r"cost $\frac$ x $"
    assert drawn(for_matplotlib(title)) == drawn(title, parse_math=False) != drawn("cost x")


def test_a_name_that_could_not_be_seen_is_quoted() -> None:
    assert [visible(name) for name in ("a b", " ", "\n", "", "�")] == ["a b", "' '", r"'\n'", "''", "�"]
