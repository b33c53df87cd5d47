"""Commands that show what a sweep found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage import console
from tutelage.cli.options import AsJson, Storage, SweepName
from tutelage.console import STORAGE
from tutelage.outputs import write_output


def front(
    name: SweepName,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write an interactive picture to this file; it opens offline.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
) -> None:
    """Print the Pareto front."""
    from tutelage.records import fronts, sweeps
    from tutelage.report import figures, tables

    home = sweeps.find(storage, name)
    records, objectives, measured = fronts.candidates(home), home.objectives(), home.facts()["teacher"]
    if csv:
        write_output(csv, tables.csv_of(tables.front_table(records, objectives)))
    if html:
        write_output(html, figures.front_html(records, objectives, measured, home.primary()))
    if png:
        write_output(png, figures.front_png(records, objectives, measured, home.primary()))
    console.show_front(home, as_json)


def report(
    name: SweepName,
    file: Annotated[Path | None, typer.Argument(help="File to write. Default: report.html in the sweep's directory.")] = None,
    storage: Storage = STORAGE,
) -> None:
    """Write one page about a sweep that opens offline: front, baselines, selection, cost."""
    from tutelage.records import sweeps
    from tutelage.report import sweep_page

    home = sweeps.find(storage, name)
    if file is not None:
        write_output(file, sweep_page.page_of(home))
    console.say(str(file or sweep_page.write_report(home)))


def compare(
    names: Annotated[list[str], typer.Argument(metavar="SWEEP SWEEP …", help="Two or more sweeps over the same data.")],
    at: Annotated[
        list[str] | None, typer.Option(help="Compare the best students within this size: --at 10k. Repeatable.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="A coordinate of the reference point: --reference params=200k. Default: the worst one of these sweeps."
        ),
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write picture and tables to this file; it opens offline.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
) -> None:
    """Compare sweeps: fronts, hypervolumes with one reference point, students that another front dominates."""
    from tutelage.objectives import parse_quantity
    from tutelage.records import sweeps
    from tutelage.report import compare as comparing
    from tutelage.report import compare_page

    homes = [sweeps.find(storage, name) for name in names]
    found = comparing.compare(homes, comparing.parse_reference(reference or []), [parse_quantity(size) for size in at or []])
    if html:
        write_output(html, compare_page.page(found.candidates, found.objectives, found.document))
    if png:
        write_output(png, compare_page.fronts_png(found.candidates, found.objectives))
    if as_json:
        console.show_json(found.document)
        return
    for header, rows in (part(found.document) for part in (compare_page.summary, compare_page.best, compare_page.beaten)):
        if rows:
            console.show_table(header, rows)
            console.say("")
    against = ", ".join(f"{name} {value:,g}" for name, value in found.document["reference"].items())
    console.say(f"hypervolumes with the reference point {against}")
    for note in found.document["notes"]:
        console.say(note)
