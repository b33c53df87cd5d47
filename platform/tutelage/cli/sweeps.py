"""Commands that run a sweep, or a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage import console
from tutelage.cli.options import Address, AsJson, Overrides, SpecPath, Storage, SweepName, load
from tutelage.console import STORAGE
from tutelage.errors import InputError


def sweep(
    spec_path: SpecPath,
    trials: Annotated[int | None, typer.Option(help="Number of students to train. Default: the spec's.")] = None,
    overrides: Overrides = None,
    address: Address = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's tracking URI. Default: the spec's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, and train nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a teacher, search students, print the Pareto front."""
    loaded = load(spec_path, overrides, trials=trials, tracking_uri=tracking_uri)
    if dry_run:
        from tutelage.sweep import dry_run as planning

        console.show_mapping(planning.plan(loaded, address), as_json)
        return
    from tutelage.progress import Progress
    from tutelage.sweep import pipeline

    with Progress() as progress:
        home = pipeline.sweep(loaded, address=address, observers=[progress])
    console.show_swept(home, as_json)


def resume(
    name: SweepName,
    trials: Annotated[
        str | None, typer.Option(help="New total of trials, such as 80, or additional trials, such as +50.")
    ] = None,
    spec_path: Annotated[
        Path | None, typer.Option("--spec", help="A spec that extends the sweep's own: more trials or hours, other resources.")
    ] = None,
    storage: Storage = STORAGE,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Continue a sweep after a stop or a crash, or extend a finished one. No student is trained twice."""
    from tutelage.progress import Progress
    from tutelage.records import sweeps
    from tutelage.sweep import resume as resuming

    home = sweeps.find(storage, name)
    given = load(spec_path, None) if spec_path else None
    with Progress() as progress:
        resuming.resume(home, trials=trials, spec=given, address=address, observers=[progress])
    console.show_swept(home, as_json)


def teacher(spec_path: SpecPath, overrides: Overrides = None, address: Address = None, as_json: AsJson = False) -> None:
    """Train the teacher alone, or reuse it if it exists."""
    from tutelage.progress import Progress
    from tutelage.sweep import pipeline

    with Progress() as progress:
        made = pipeline.train_teacher(load(spec_path, overrides), address=address, observers=[progress])
    console.show_mapping({"version": 1, "address": made.address, "directory": str(made.directory), **made.measures}, as_json)


def status(
    name: SweepName,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw it again until the sweep has ended, with the front as a plot.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two drawings of --watch.")] = 2.0,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print a sweep's progress: trials by state, size of the front, hypervolume, time left."""
    from tutelage.records import sweeps
    from tutelage.report import json_views

    home = sweeps.find(storage, name)
    if watch and as_json:
        raise InputError("--watch draws for people, and --json prints one document. Leave one of them out.")
    if watch:
        from tutelage import watch as watching

        watching.watch(home, every, console.out)
        return
    document = json_views.status(home)
    if not as_json:
        document = {**document, "running": [one["trial"] for one in document["running"]]}
    console.show_mapping({key: value for key, value in document.items() if as_json or value is not None}, as_json)


def track(
    name: SweepName,
    tracking_uri: Annotated[str | None, typer.Option(help="New tracking URI, if that MLflow server has moved.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Send MLflow the results of a sweep that it has not received, for example because it was unreachable."""
    from tutelage.records import sweeps
    from tutelage.sweep import pipeline

    console.show_mapping(pipeline.catch_up(sweeps.find(storage, name), tracking_uri), as_json)
