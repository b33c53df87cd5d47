"""What the command line prints: a document as JSON, or as tables for people."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from tutelage.measure import Measure

STORAGE = Path(".tutelage")


out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 240)


def show_table(header: list[str], rows: list[list[Any]]) -> None:
    """Print a table with names aligned left and numbers right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(
            name,
            no_wrap=True,
            justify="left" if name in ("name", "summary", "trial", "student", "check", "state", "found") else "right",
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    out.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        whole = value == round(value) and abs(value) >= 10
        return "" if value != value else f"{value:,.0f}" if whole else f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(one)}" for key, one in value.items())
    return ", ".join(map(_cell, value)) if isinstance(value, list) else str(value)


def show_mapping(document: dict[str, Any], as_json: bool) -> None:
    """Print a document's values, one a line."""
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in document.items():
        if key != "version":
            table.add_row(key, _cell(value))
    out.print(table)


def show_front(home: Any, as_json: bool) -> None:
    """Print a sweep's front."""
    from tutelage.records import fronts
    from tutelage.report import json_views, tables

    if as_json:
        typer.echo(json.dumps(json_views.front(home), indent=2))
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
        typer.echo(note)
    typer.echo(f"in {document['directory']}")


def _is_absent(value: Any) -> bool:
    return isinstance(value, float) and value != value


def show_choice(choice: Any) -> None:
    """Print a selection: its reason, what fresh seeds changed, the test split, the registration."""
    document = choice.document
    typer.echo(document["reason"])
    _show_rivals(document)
    for remark in ("regression", "teaching", "capacity_gap", "transfer", "test_warning"):
        if document[remark]:
            typer.echo(document[remark])
    test, primary = document["test"], Measure.from_document(document["measure"])
    rows = [
        [name, primary.text(score["value"]), primary.interval_text(score["interval"])]
        for name, score in (
            ("student", test), ("label-only baseline", test["labels_only"]), ("teacher", test["teacher"]),
            ("champion", test.get("champion")),
        )
        if score is not None
    ]  # fmt: skip
    show_table(["student", f"test {primary.label}", "95 % interval"], rows)
    if model := document["model"]:
        given = f"alias {', '.join(model['aliases'])}" if model["aliases"] else "no alias"
        typer.echo(f"registered as {model['name']} version {model['version']}, {given}. {model['why']}")
    typer.echo(f"report: {choice.report_path}")


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
        typer.echo("")
        show_table(
            ["student", "in the search", "over fresh seeds", f"change, {primary.difference_unit}", "confidence bound"], rivals
        )
        typer.echo("")


def show_swept(home: Any, as_json: bool) -> None:
    """Print a sweep's front, and the next commands."""
    from tutelage.records import mlflow_views
    from tutelage.records.mlflow_format import ui_command

    show_front(home, as_json)
    typer.echo(f"\nselect a student: {home.command('select')}", err=True)
    typer.echo(f"show it in MLflow: {ui_command(home.shown_tracking_uri)}", err=True)
    path = mlflow_views.path(home.facts()["experiment_id"])
    typer.echo(f"then open the printed address followed by {path}", err=True)
