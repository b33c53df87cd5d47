"""Commands that show what a sweep found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tutelage import console
from tutelage.cli.options import AsJson, Storage, SweepName
from tutelage.console import STORAGE


def front(
    name: SweepName,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an interactive picture to this file; it opens offline.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
) -> None:
    """Print the Pareto front."""
    from tutelage.records import fronts, sweep_dir
    from tutelage.report import figures, tables

    home = sweep_dir.find(storage, name)
    records, objectives, measured = fronts.candidates(home), home.objectives(), home.facts()["teacher"]
    if csv:
        tables.write_csv(tables.front_table(records, objectives), csv)
    if html:
        figures.front_html(records, objectives, html, measured, home.primary())
    if png:
        figures.front_png(records, objectives, png, measured, home.primary())
    console.show_front(home, as_json)


def report(
    name: SweepName,
    file: Annotated[Path | None, typer.Argument(help="File to write. Default: in the sweep's directory.")] = None,
    storage: Storage = STORAGE,
) -> None:
    """Write one page about a sweep that opens offline: front, baselines, selection, cost."""
    from tutelage.files import write_atomically
    from tutelage.records import sweep_dir
    from tutelage.report import sweep_page

    path = sweep_page.write_report(sweep_dir.find(storage, name))
    if file is not None:
        write_atomically(file, path.read_bytes())
    typer.echo(str(file or path))


def compare(
    names: Annotated[list[str], typer.Argument(metavar="SWEEP SWEEP …", help="Two or more sweeps over the same data.")],
    at: Annotated[
        list[str] | None, typer.Option(help="Compare the best students within this size: --at 10k. Repeatable.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="A coordinate of the reference point: --reference params=200k. Default: the worst of the sweeps' own."
        ),
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write picture and tables to this file; it opens offline.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
) -> None:
    """Compare sweeps: fronts, hypervolumes with one reference point, students that another front dominates."""
    from tutelage.objectives import parse_quantity
    from tutelage.records import sweep_dir
    from tutelage.report import compare as comparing
    from tutelage.report import compare_page

    homes = [sweep_dir.find(storage, name) for name in names]
    found = comparing.compare(homes, comparing.parse_reference(reference or []), [parse_quantity(size) for size in at or []])
    if html:
        compare_page.write_html(found.candidates, found.objectives, found.document, html)
    if png:
        compare_page.write_png(found.candidates, found.objectives, png)
    if as_json:
        typer.echo(json.dumps(found.document, indent=2))
        return
    for header, rows in (part(found.document) for part in (compare_page.summary, compare_page.best, compare_page.beaten)):
        if rows:
            console.show_table(header, rows)
            typer.echo("")
    against = ", ".join(f"{name} {value:,g}" for name, value in found.document["reference"].items())
    typer.echo(f"hypervolumes with the reference point {against}")
    for note in found.document["notes"]:
        typer.echo(note)
