"""Names that others chose are shown in pages, pictures and tables, and are neither mark-up nor formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.report.test_figures import OBJECTIVES, TEACHER
from tests.stored_sweep import selection_of
from tutelage.records.sweep_dir import measures_in
from tutelage.records.trial import TrialRecord
from tutelage.report import compare_page, figures, sweep_page, tables

Make = Callable[..., TrialRecord]
MARK_UP = [
    "<img src=x onerror=alert(1)>",
    "</script><img src=x>",
    "\"><svg onload='x'>",
    "</td></table><iframe>",
    "<!--",
    "]]>",
]
FORMULAS = ["=cmd|'/C calc'!A0", "+1+cmd", "@SUM(A1)", "-2+3", "\t=1", "\r=1", "x;=1+1", "x\t@SUM(A1)", "\uff1d1"]


class Tags(HTMLParser):
    """The tags of a page, and the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found = set[str]()
        self.attributes = set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


def planted(node: Any, word: str) -> Any:
    """Return a document in which every text is `word`, but for what other parts of it are found by."""
    if isinstance(node, dict):
        return {key: value if key in ("measure", "trial") else planted(value, word) for key, value in node.items()}
    if isinstance(node, list):
        return [planted(one, word) for one in node]
    return word if isinstance(node, str) else node


def hostile(make_record: Make, word: str) -> list[TrialRecord]:
    records = [make_record(number, accuracy=0.5 + number / 10, params=100.0 * (number + 1)) for number in range(3)]
    records = [replace(one, params={**one.params, word: word, "student.model": word}, state="finished") for one in records]
    return [*records, replace(make_record(3, "failed", f"Traceback\n{word}"), params={word: word})]


@pytest.mark.slow
@pytest.mark.parametrize("word", MARK_UP)
def test_no_name_is_mark_up(make_record: Make, word: str) -> None:
    records = hostile(make_record, word)
    selection = planted(selection_of("x", records[2]), word)
    sweep = sweep_page.Sweep(
        name=word, spec_yaml=f"name: {word}", objectives=OBJECTIVES, measures=measures_in({}), records=records,
        candidates=records[:3], teacher=TEACHER, selection=selection, environment={word: word}, elapsed_s=90.0, search_s=50.0,
    )  # fmt: skip
    page = sweep_page.page(sweep)
    tags = Tags(page)
    assert tags.found <= {
        "html", "meta", "title", "style", "main", "section", "div", "b", "i", "span", "h1", "h2", "h3", "p", "table", "tr",
        "th", "td", "pre", "code", "script",
    }  # fmt: skip
    assert not {name for name in tags.attributes if name.startswith("on") or name == "src"}
    for picture in (
        figures.front_html(records, OBJECTIVES, TEACHER),
        compare_page.figure_of({word: records[:3], "b": records[:3]}, OBJECTIVES).to_html(include_plotlyjs=False),
    ):
        assert Tags(picture).found <= {"html", "head", "meta", "body", "div", "script", "style"}
        assert "<svg onload" not in picture and "<img src=x" not in picture


@pytest.mark.parametrize("word", FORMULAS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_of_a_table_is_a_formula_whatever_a_spreadsheet_splits_it_by(
    make_record: Make, word: str, delimiter: str
) -> None:
    written = tables.csv_of(tables.front_table(hostile(make_record, word)[:3], OBJECTIVES))
    for row in csv.reader(io.StringIO(written), delimiter=delimiter):
        for cell in row:
            assert not cell.lstrip().startswith(("=", "+", "@", "-", "\uff1d")), cell
