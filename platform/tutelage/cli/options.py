"""Arguments and options that several commands share, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.errors import InputError, nearest
from tutelage.storage import as_directory

SpecPath = Annotated[Path, typer.Argument(help="The sweep's YAML spec; search_spaces/ has examples.")]


SweepName = Annotated[str, typer.Argument(help="The sweep's name, or its MLflow run id.")]


Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Set a key of the spec, such as --set student.epochs=5. Repeatable.")
]


Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster. Default: Ray starts on this machine.")]


Storage = Annotated[str, typer.Option(metavar="PATH", help="Directory in which sweeps are stored.", callback=as_directory)]


TrackingUri = Annotated[str | None, typer.Option(help="MLflow's tracking URI. Default: SQLite in the storage.")]


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Also run code that only the network's files name (module:Name), and .pt2 programs from other sources.",
    ),
]


AtMost = Annotated[list[str] | None, typer.Option("--max", help="Upper bound of a measure: --max size_bytes=20k. Repeatable.")]


AtLeast = Annotated[list[str] | None, typer.Option("--min", help="Lower bound of a measure: --min accuracy=0.95. Repeatable.")]


def load(path: Path, overrides: list[str] | None, *, trials: int | None = None, tracking_uri: str | None = None) -> Any:
    """Return the spec of a file with the given keys set."""
    from tutelage.spec import loading

    given = list(overrides or [])
    if trials is not None:
        given.append(f"search.trials={trials}")
    if tracking_uri is not None:
        given.append(f"tracking.uri={json.dumps(tracking_uri)}")
    return loading.load(path, given)


def bounds(given: list[str] | None, measures: Collection[str]) -> dict[str, float]:
    """Return bounds by measure from `measure=value` texts; `InputError` for a measure not in `measures`, or no number."""
    from tutelage.objectives import parse_quantity

    found = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"'{text}' is not a bound. Write measure=value, such as size_bytes=20k.")
        if name not in measures:
            raise InputError(f"no measure '{name}'.{nearest(name, measures)} Known: {', '.join(measures)}.")
        found[name] = parse_quantity(value)
    return found
