"""Commands about one student: select, register, export, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage import console
from tutelage.cli.options import (
    Address,
    AsJson,
    AtLeast,
    AtMost,
    Overrides,
    SpecPath,
    Storage,
    SweepName,
    TrackingUri,
    Trust,
    bounds,
    load,
)
from tutelage.console import STORAGE
from tutelage.errors import InputError, NotPromoted, WorkFailed


def select(
    name: SweepName,
    policy: Annotated[
        str | None, typer.Option(help="A policy of `tutelage list policies`, or your own as module:Name. Default: the spec's.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the policy, such as --option within=0.005. Repeatable.")
    ] = None,
    at_most: AtMost = None,
    at_least: AtLeast = None,
    confirm: Annotated[
        int, typer.Option(min=0, max=100, help="Train candidates again with this many fresh seeds; 0 trusts the search.")
    ] = 3,
    rivals: Annotated[int, typer.Option(min=1, help="Train at most this many candidates again.")] = 6,
    register: Annotated[
        str | None,
        typer.Option(help="Register the student in MLflow under this name; as champion if it is better than the present one."),
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option(help="A further alias in the registry, such as smallest or fastest. Repeatable.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="A student smaller than the champion may be worse by this much.")
    ] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="Make the student the champion without a comparison.")] = False,
    require_promotion: Annotated[
        bool, typer.Option("--require-promotion", help="Exit with 5 if the student does not become the champion.")
    ] = False,
    trust: Trust = False,
    storage: Storage = STORAGE,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Select one student: confirm it with fresh seeds, compare it with its label-only baseline, test it once, register it."""
    from tutelage.objectives import Limits
    from tutelage.progress import Progress
    from tutelage.records import sweeps
    from tutelage.selection import select as choosing
    from tutelage.selection.champions import Registration
    from tutelage.selection.query import parse_policy

    if register is None and (alias or force or require_promotion):
        raise InputError("--alias, --force and --require-promotion need --register NAME.")
    if policy is None and option:
        raise InputError("--option needs --policy NAME.")
    registration = (
        None if register is None else Registration(name=register, aliases=alias or [], margin=margin, force=force, trust=trust)
    )
    home = sweeps.find(storage, name)
    measures = home.measures()
    limits = Limits(max=bounds(at_most, measures), min=bounds(at_least, measures)) if at_most or at_least else None
    with Progress() as progress:
        choice = choosing.select(
            home, policy=None if policy is None else parse_policy(policy, option or []), limits=limits, confirm=confirm,
            rivals=rivals, register=registration, address=address, observers=[progress],
        )  # fmt: skip
    if as_json:
        console.show_json(choice.document)
    else:
        console.show_choice(choice)
    if require_promotion and not choice.document["model"]["promoted"]:
        raise NotPromoted(choice.document["model"]["why"])


def rollback(
    model: Annotated[str, typer.Argument(help="The registered model's name.")],
    tracking_uri: TrackingUri = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Make the previous champion of a registered model the champion again. A second call undoes it."""
    from dataclasses import asdict

    from tutelage.export import registry
    from tutelage.spec.loading import default_tracking_uri

    done = registry.roll_back(default_tracking_uri(storage) if tracking_uri is None else tracking_uri, model)
    console.show_mapping({"version": 1, **asdict(done)}, as_json)


def export(
    model: Annotated[
        str,
        typer.Argument(help="SWEEP (its selected student), SWEEP/TRIAL, a network's directory, or models:/NAME@champion."),
    ],
    directory: Annotated[Path, typer.Argument(help="A new or an empty directory.")],
    form: Annotated[
        list[str] | None,
        typer.Option(help="weights, program, onnx, onnx-int8 or onnx-int8-dynamic. Repeatable. Default: the first three."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Load every form in a process without tutelage, and compare its outputs on real inputs."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="A spec whose data --check and the int8 forms use. Default: that of the student's sweep."),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out an int8 form that loses more on validation than this.")
    ] = 0.01,
    licence: Annotated[
        str,
        typer.Option("--licence", "--license", help="The licence in the model card: an SPDX identifier, such as Apache-2.0."),
    ] = "unknown",
    trust: Trust = False,
    tracking_uri: TrackingUri = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write a student's files, which need no tutelage to run, with a model card and a manifest."""
    from tutelage.export import export as exporting
    from tutelage.export.forms import FLOAT_FORMS

    options = exporting.Options(
        forms=form or FLOAT_FORMS, check=check, data=load(data, None) if data else None, max_loss=max_loss,
        licence=licence, trust=trust,
    )  # fmt: skip
    document = exporting.export_model(model, directory, storage, options, tracking_uri)
    if as_json:
        console.show_json(document)
    else:
        console.show_export(document)
    if document["refused"]:
        raise WorkFailed(f"{'; '.join(document['refused'])}. It was left out; the other files are in {directory}.")


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="SWEEP (its selected student), SWEEP/TRIAL, models:/NAME@champion, an exported directory, .pt2 or .onnx."
        ),
    ],
    spec_path: SpecPath,
    split: Annotated[str, typer.Option(help="The split: train, validation or test.")] = "validation",
    overrides: Overrides = None,
    trust: Trust = False,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure a student, in any form, on a split of a spec's data: quality with its interval, size, latency."""
    from tutelage.export import evaluate as evaluating

    measured = evaluating.evaluate_model(model, load(spec_path, overrides), split, storage, trust=trust)
    console.show_mapping(measured, as_json)
