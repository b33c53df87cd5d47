"""What the command line prints: a document as JSON, or as tables for people."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from itertools import zip_longest
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.escaping import for_terminal, visible
from tutelage.measure import Measure
from tutelage.redaction import redact, redacted

STORAGE = ".tutelage"
_LONG_CHARS, _GAP = 32, 2  # of a cell that may be shortened; blanks between two columns


out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 240)


def say(text: str, *, err: bool = False) -> None:
    """Print a text on stdout, or stderr, without secrets and without characters that command a terminal."""
    typer.echo(for_terminal(redact(text)), err=err)


def announce(text: str) -> None:
    """Print a text on stdout as it is, at once: an address with the token that opens it."""
    typer.echo(for_terminal(text))
    sys.stdout.flush()


def show_json(document: Any) -> None:
    """Print one JSON document without secrets on stdout."""
    typer.echo(json.dumps(redacted(document), indent=2))


def show_table(header: list[str], rows: list[list[Any]]) -> None:
    """Print a table with names aligned left and numbers right.

    Only cells of more than 32 characters are shortened on a narrow terminal: half a trial's name or half a number misleads.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    names, cells = [plain(name) for name in header], [[plain(_cell(value)) for value in row] for row in rows]
    widths = _widths(names, cells)
    for name, text, width in zip(header, names, widths, strict=True):
        is_text = name in ("name", "summary", "trial", "student", "check", "state", "found")
        table.add_column(text, no_wrap=True, justify="left" if is_text else "right", min_width=width, max_width=width)
    for row in cells:
        table.add_row(*row)
    out.print(table, width=max(out.width, sum(widths) + _GAP * len(widths)))


def _widths(header: list[Text], rows: list[list[Text]]) -> list[int]:
    """Return the characters that each column is given: whole, except that long columns share what the others leave."""
    whole = [max((one[place].cell_len for one in [header, *rows]), default=1) for place in range(len(header))]
    long = [width for width in whole if width > _LONG_CHARS]
    left = out.width - sum(width for width in whole if width <= _LONG_CHARS) - _GAP * len(whole)
    share = max(_LONG_CHARS, left // max(1, len(long)))
    return [min(width, share) for width in whole]


def plain(text: str) -> Text:
    """Return a text for a table, as it is: brackets are no mark-up and nothing commands a terminal."""
    return Text(for_terminal(redact(text)))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        whole = value == round(value) and abs(value) >= 10
        return "" if value != value else f"{value:,.0f}" if whole else f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{visible(key)} {_cell(one)}" for key, one in value.items())
    return ", ".join(map(_cell, value)) if isinstance(value, list) else str(value)


def show_mapping(document: dict[str, Any], as_json: bool) -> None:
    """Print a document's values, one a line; of several sentences, each has a line."""
    if as_json:
        show_json(document)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in document.items():
        if key == "version":
            continue
        texts = value if _has_sentences(value) else [_cell(value)]
        for title, text in zip_longest([key], texts, fillvalue=""):
            table.add_row(plain(title), plain(text))
    out.print(table)


def _has_sentences(value: Any) -> bool:
    """Return whether a value is a list of sentences, which have commas of their own, and not one of names or numbers."""
    return isinstance(value, list) and any(isinstance(one, str) and " " in one for one in value)


def show_options(rows: list[dict[str, str]]) -> None:
    """Print a plugin's options as `--help` prints those of a command: name, meaning, allowed values, default, range."""
    indent = " " * (2 + max((len(row["option"]) for row in rows), default=0))
    for row in rows:
        text = f"{row['meaning']}  [{_allowed(row)}]"
        first = row["option"].ljust(len(indent))
        width = max(shutil.get_terminal_size().columns, len(indent) + 40)
        say(textwrap.fill(text, width, initial_indent=first, subsequent_indent=indent))


def _allowed(row: dict[str, str]) -> str:
    searched = f"; search: {row['searched']}" if row["searched"] else ""
    default = row["default"] if row["default"] == "required" else f"default: {row['default']}"
    return f"{row['values']}; {default}{searched}"


def show_front(home: Any, as_json: bool) -> None:
    """Print a sweep's front."""
    from tutelage.records import fronts
    from tutelage.report import json_views, tables

    if as_json:
        show_json(json_views.front(home))
        return
    table = tables.front_table(fronts.candidates(home), home.objectives())
    objectives = {objective.name for objective in home.objectives()}
    hidden = {name for name, measure in home.measures().items() if measure.detail} - objectives
    table = table[[name for name in table.columns if name not in hidden]]
    table.columns = [name.removeprefix("student.").removeprefix("distillation.") for name in table.columns]
    show_table(list(table.columns), [["" if _is_absent(v) else v for v in row] for row in table.itertuples(index=False)])


def show_export(document: dict[str, Any]) -> None:
    """Print the exported files, the largest difference of each form, and the notes on kept forms."""
    apart = document["largest_difference"] or {}
    show_table(
        ["name", "bytes", "form", "largest difference"],
        [
            [name, f"{one['size_bytes']:,}", one["form"] or "", f"{apart[one['form']]:.2g}" if one["form"] in apart else ""]
            for name, one in document["files"].items()
        ],
    )
    for note in document["kept"]:
        say(note)
    say(f"in {document['directory']}")


def _is_absent(value: Any) -> bool:
    return isinstance(value, float) and value != value


def show_choice(choice: Any) -> None:
    """Print a selection: its reason, what fresh seeds changed, the test split, the registration."""
    document = choice.document
    say(document["reason"])
    _show_rivals(document)
    if document["guard"]:
        say(document["guard"]["guarantee"])
    for remark in ("regression", "distillation", "capacity_gap", "transfer", "test_warning"):
        if document[remark]:
            say(document[remark])
    test, primary = document["test"], Measure.from_document(document["measure"])
    rows = [
        [name, primary.text(score["value"]), primary.interval_text(score["interval"])]
        for name, score in (
            ("student", test), ("label-only baseline", test["label_only"]), ("teacher", test["teacher"]),
            ("champion", test.get("champion")),
        )
        if score is not None
    ]  # fmt: skip
    show_table(["student", f"test {primary.label}", "95 % interval"], rows)
    if model := document["model"]:
        given = f"alias {', '.join(model['aliases'])}" if model["aliases"] else "no alias"
        say(f"registered as {model['name']} version {model['version']}, {given}. {model['why']}")
    say(f"report: {choice.report_path}")


def _show_rivals(document: dict[str, Any]) -> None:
    taken, primary = document["student"]["trial"], Measure.from_document(document["measure"])
    rivals = [
        [
            f"{one['trial']} (taken)" if one["trial"] == taken else one["trial"], primary.text(one["searched"]),
            primary.text(one["confirmed"]["mean"]), primary.difference_number(one["change"]),
            "" if one["confirmed"]["bound"] is None else primary.text(one["confirmed"]["bound"]),
        ]
        for one in document["candidates"]
    ]  # fmt: skip
    if rivals:
        say("")
        show_table(
            ["student", "in the search", "over fresh seeds", f"change, {primary.difference_unit}", "confidence bound"], rivals
        )
        say("")


def show_swept(home: Any, as_json: bool) -> None:
    """Print a sweep's front, and the next commands."""
    from tutelage.records import mlflow_views
    from tutelage.records.mlflow_format import ui_command

    show_front(home, as_json)
    say(f"\nselect a student: {home.command('select')}", err=True)
    say(f"show it in MLflow: {ui_command(home.shown_tracking_uri)}", err=True)
    path = mlflow_views.path(home.facts()["experiment_id"])
    say(f"then open the printed address followed by {path}", err=True)
