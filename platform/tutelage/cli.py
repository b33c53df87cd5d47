"""The command line: arguments to spec to pipeline. No logic of its own.

stdout carries the result, stderr the progress; `--json` prints one JSON document and nothing else on stdout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage import console, plugins
from tutelage.console import STORAGE
from tutelage.errors import InputError, NotPromoted, TutelageError, UnreachableError, WorkFailed, nearest

app = typer.Typer(
    help="Find the best small networks that a big one can teach.",
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip


SpecPath = Annotated[Path, typer.Argument(help="The sweep's YAML spec; see search_spaces/.")]


SweepName = Annotated[str, typer.Argument(help="A sweep's name, or its MLflow run id.")]


Overrides = Annotated[list[str] | None, typer.Option("--set", help="Set a key of the spec: --set student.epochs=5.")]


Address = Annotated[str | None, typer.Option(help="A Ray cluster's address; without it, Ray runs on this machine.")]


Storage = Annotated[Path, typer.Option(help="Where sweeps are kept.")]


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


AtMost = Annotated[list[str] | None, typer.Option("--max", help="Upper bound: --max size_bytes=20k.")]


AtLeast = Annotated[list[str] | None, typer.Option("--min", help="Lower bound: --min accuracy=0.95.")]


def main() -> None:
    """Run the command line; the exit code says how it went."""
    try:
        app(standalone_mode=True)
    except TutelageError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


@app.command()
def sweep(
    spec_path: SpecPath,
    trials: Annotated[int | None, typer.Option(help="How many students to train, in place of the spec's.")] = None,
    overrides: Overrides = None,
    address: Address = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's tracking URI, in place of the spec's.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it costs; train nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a teacher, search students, draw the front."""
    loaded = _load(spec_path, overrides, trials=trials, tracking_uri=tracking_uri)
    if dry_run:
        from tutelage.sweep import dry_run as planning

        console.show_mapping(planning.plan(loaded), as_json)
        return
    from tutelage.progress import Progress
    from tutelage.sweep import pipeline

    with _resumable(loaded.name, Path(loaded.storage)), Progress(loaded.search.trials) as progress:
        home = pipeline.sweep(loaded, address=address, observer=progress)
    console.show_swept(home, as_json)


@contextmanager
def _resumable(name: str, storage: Path) -> Iterator[None]:
    """Say on Ctrl-C how the sweep is gone on with."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(
            f"stopped. What has ended is kept; to go on: tutelage resume {name}{console.storage_option(storage)}", err=True
        )
        raise typer.Exit(130) from None


@app.command()
def resume(
    name: SweepName,
    trials: Annotated[str | None, typer.Option(help="A new total (80), or as many more (+50).")] = None,
    spec_path: Annotated[
        Path | None, typer.Option("--spec", help="A spec that extends the sweep's own: more trials or hours, other resources.")
    ] = None,
    storage: Storage = STORAGE,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a sweep after a stop or a crash, or extend one that has finished; no student is trained twice."""
    from tutelage.progress import Progress
    from tutelage.records import sweep_dir
    from tutelage.sweep import resume as resuming

    home = sweep_dir.find(storage, name)
    given = _load(spec_path, None) if spec_path else None
    with _resumable(home.name, storage), Progress(None) as progress:
        resuming.resume(home, trials=trials, spec=given, address=address, observer=progress)
    console.show_swept(home, as_json)


@app.command()
def teacher(spec_path: SpecPath, overrides: Overrides = None, address: Address = None, as_json: AsJson = False) -> None:
    """Train the teacher alone, or reuse it."""
    from tutelage.progress import Progress
    from tutelage.sweep import pipeline

    with Progress(None) as progress:
        made = pipeline.train_teacher(_load(spec_path, overrides), address=address, observer=progress)
    console.show_mapping({"version": 1, "address": made.address, "directory": str(made.directory), **made.measures}, as_json)


@app.command()
def status(name: SweepName, storage: Storage = STORAGE, as_json: AsJson = False) -> None:
    """Say how far a sweep is: trials by state, front, hypervolume."""
    from tutelage.records import sweep_dir
    from tutelage.report import json_views

    console.show_mapping(json_views.status(sweep_dir.find(storage, name)), as_json)


@app.command()
def front(
    name: SweepName,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the moving picture here; it opens offline.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Show the Pareto front."""
    from tutelage.records import fronts, sweep_dir
    from tutelage.report import figures, tables

    home = sweep_dir.find(storage, name)
    records, objectives, measured = fronts.candidates(home), home.objectives(), home.facts()["teacher"]
    if csv:
        tables.write_csv(tables.front_table(records, objectives), csv)
    if html:
        figures.front_html(records, objectives, html, measured)
    if png:
        figures.front_png(records, objectives, png, measured)
    console.show_front(home, as_json)


@app.command()
def select(
    name: SweepName,
    policy: Annotated[
        str | None, typer.Option(help="See `tutelage list policies`, or your own as module:Name; by default the spec's.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the policy, such as --option within=0.005; several times.")
    ] = None,
    at_most: AtMost = None,
    at_least: AtLeast = None,
    confirm: Annotated[
        int, typer.Option(min=0, max=100, help="Train rivals again with this many fresh seeds; 0: trust the search.")
    ] = 3,
    rivals: Annotated[int, typer.Option(min=1, help="Train at most this many again, those that might be taken.")] = 6,
    register: Annotated[
        str | None, typer.Option(help="Register it in MLflow under this name; as champion if it beats the one there is.")
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="A further alias in the registry, such as smallest or fastest; several times.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that a student smaller than the champion may give up.")
    ] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="Make it the champion, whatever the present one has.")] = False,
    require_promotion: Annotated[
        bool, typer.Option("--require-promotion", help="Exit with 5 if it does not become the champion.")
    ] = False,
    storage: Storage = STORAGE,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Select one student by fresh seeds, compare it with its label-only baseline, test it once, register it."""
    from tutelage.objectives import Limits
    from tutelage.progress import Progress
    from tutelage.records import sweep_dir
    from tutelage.selection import select as choosing
    from tutelage.selection.champions import Registration
    from tutelage.selection.query import parse_policy

    if register is None and (alias or force or require_promotion):
        raise InputError("--alias, --force and --require-promotion belong to --register NAME.")
    if policy is None and option:
        raise InputError("--option belongs to --policy NAME.")
    limits = Limits(max=_bounds(at_most), min=_bounds(at_least)) if at_most or at_least else None
    registration = Registration(name=register, aliases=alias or [], margin=margin, force=force) if register else None
    home = sweep_dir.find(storage, name)
    with Progress(None) as progress:
        choice = choosing.select(
            home, policy=parse_policy(policy, option or []) if policy else None, limits=limits, confirm=confirm,
            rivals=rivals, register=registration, address=address, observer=progress,
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(choice.document, indent=2))
    else:
        console.show_choice(choice)
    if require_promotion and not choice.document["model"]["promoted"]:
        raise NotPromoted(choice.document["model"]["why"])


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="The registered model's name.")],
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's; by default SQLite in the storage.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Make the previous champion of a registered model the champion again; once more undoes it."""
    from dataclasses import asdict

    from tutelage.export import registry

    done = registry.roll_back(tracking_uri or f"sqlite:///{storage.resolve() / 'mlflow.db'}", model)
    console.show_mapping({"version": 1, **asdict(done)}, as_json)


@app.command()
def track(
    name: SweepName,
    tracking_uri: Annotated[str | None, typer.Option(help="Where that MLflow is now, if it has moved.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Bring into MLflow what it could not take while a sweep ran."""
    from tutelage.records import sweep_dir
    from tutelage.sweep import pipeline

    console.show_mapping(pipeline.catch_up(sweep_dir.find(storage, name), tracking_uri), as_json)


@app.command()
def report(
    name: SweepName,
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default in the sweep's directory.")] = None,
    storage: Storage = STORAGE,
) -> None:
    """Write the sweep's page: front, baselines, selection, how it was measured. It opens offline."""
    from tutelage.files import write_atomically
    from tutelage.records import sweep_dir
    from tutelage.report import sweep_page

    path = sweep_page.write_report(sweep_dir.find(storage, name))
    if file is not None:
        write_atomically(file, path.read_bytes())
    typer.echo(str(file or path))


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="SWEEP SWEEP …", help="Two sweeps or more, over the same data.")],
    at: Annotated[
        list[str] | None, typer.Option(help="Compare the best accuracy within this size: --at 10k; several times.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="The reference point: --reference params=200k; by default the worst of the sweeps'."),
    ] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write picture and tables here; the page opens offline.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Compare sweeps: fronts on one picture, hypervolumes up to one reference point, who beats whom."""
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
    typer.echo(f"hypervolumes up to {against}")
    for note in found.document["notes"]:
        typer.echo(note)


@app.command()
def export(
    model: Annotated[
        str,
        typer.Argument(help="SWEEP (its selected student), SWEEP/TRIAL, a directory of a network, or models:/NAME@champion."),
    ],
    directory: Annotated[Path, typer.Argument(help="A new directory.")],
    form: Annotated[
        list[str] | None,
        typer.Option(help="weights, program, onnx, onnx-int8, onnx-int8-dynamic; several times; by default the first three."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read every form back where tutelage is not installed, and compare on real inputs.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="A spec whose data --check and int8 forms use; by default the student's own sweep's.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Leave an int8 form out if it loses more of the validation accuracy than this.")
    ] = 0.01,
    licence: Annotated[
        str,
        typer.Option("--licence", "--license", help="The licence for the model card: an SPDX identifier, such as Apache-2.0."),
    ] = "unknown",
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's, for models:/…; by default SQLite in the storage.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write a student in forms that need no tutelage, with a model card and a manifest."""
    from tutelage.export import bundle
    from tutelage.export import export as exporting

    document = exporting.export_model(
        model, directory, storage, forms=form or bundle.FLOAT_FORMS, check=check,
        data=_load(data, None) if data else None, max_loss=max_loss, licence=licence, uri=tracking_uri,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        console.show_export(document)
    if document["refused"]:
        raise WorkFailed(f"{'; '.join(document['refused'])}. It was left out; the rest is in {directory}.")


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="SWEEP (its selected student), SWEEP/TRIAL, models:/NAME@champion, an exported directory, .pt2 or .onnx."
        ),
    ],
    spec_path: SpecPath,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    overrides: Overrides = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure a student, in whichever form, on a split of a spec's data: accuracy with its interval, size, latency."""
    from tutelage.export import evaluate as evaluating

    console.show_mapping(evaluating.evaluate_model(model, _load(spec_path, overrides), split, storage), as_json)


@app.command()
def doctor(
    storage: Storage = STORAGE,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's tracking URI; by default SQLite in the storage.")] = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Check that storage, MLflow and Ray answer, here and in a worker."""
    from tutelage import doctor as examination

    rows = examination.examine(storage, tracking_uri, address)
    if as_json:
        typer.echo(json.dumps({"version": 1, "checks": rows}, indent=2))
    else:
        console.show_table(["check", "state", "found"], [list(row.values()) for row in rows])
    if any(row["state"] == "failed" for row in rows):
        raise UnreachableError("not everything that a sweep needs answers; see the table.")


@app.command()
def schema() -> None:
    """Print the spec's JSON schema, for editors."""
    from tutelage.spec.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command(name="list")
def list_plugins(
    family: Annotated[str, typer.Argument(help="tasks, data, models, losses, sparsity, measures or policies.")],
    as_json: AsJson = False,
) -> None:
    """List a family's plugins."""
    if family not in plugins.FAMILIES:
        raise InputError(f"no family '{family}'.{nearest(family, plugins.FAMILIES)} Known: {', '.join(plugins.FAMILIES)}.")
    rows = [{"name": name, "summary": plugins.summary(family, name)} for name in plugins.names(family)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        console.show_table(["name", "summary"], [[row["name"], row["summary"]] for row in rows])


def _load(path: Path, overrides: list[str] | None, *, trials: int | None = None, tracking_uri: str | None = None) -> Any:
    from tutelage.spec import loading

    given = list(overrides or [])
    if trials is not None:
        given.append(f"search.trials={trials}")
    if tracking_uri is not None:
        given.append(f"tracking.uri={json.dumps(tracking_uri)}")
    return loading.load(path, given)


def _bounds(given: list[str] | None) -> dict[str, float]:
    from tutelage.objectives import parse_quantity
    from tutelage.spec.objective_fields import MEASURES

    bounds = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"'{text}' is no bound. Write measure=value, such as size_bytes=20k.")
        if name not in MEASURES:
            raise InputError(f"no measure '{name}'.{nearest(name, MEASURES)} Known: {', '.join(MEASURES)}.")
        bounds[name] = parse_quantity(value)
    return bounds
