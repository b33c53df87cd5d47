"""Commands about a student's files: export, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage import console
from tutelage.cli.options import AsJson, Overrides, SpecPath, Storage, TrackingUri, Trust, load
from tutelage.console import STORAGE
from tutelage.errors import WorkFailed

Exported = Annotated[
    str,
    typer.Argument(help="SWEEP (its selected student), SWEEP/TRIAL, a network's directory, or models:/NAME@champion."),
]
Directory = Annotated[Path, typer.Argument(help="A new or an empty directory.")]
Forms = Annotated[
    list[str] | None,
    typer.Option(
        "--form", help="weights, program, onnx, onnx-int8, onnx-int8-dynamic. Default: the first three; an int8 student's."
    ),
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Load every form in a process without tutelage, and compare its outputs on real inputs."),
]
DataSpec = Annotated[
    Path | None,
    typer.Option(help="A spec whose data --check and the int8 forms use. Default: the spec of the student's sweep."),
]
MaxLoss = Annotated[
    float,
    typer.Option(min=0, max=1, help="Leave out an int8 form whose primary measure on validation is worse by more than this."),
]
Licence = Annotated[
    str,
    typer.Option("--licence", "--license", help="The licence in the model card: an SPDX identifier, such as Apache-2.0."),
]
Evaluated = Annotated[
    str,
    typer.Argument(
        help="SWEEP (its selected student), SWEEP/TRIAL, models:/NAME@champion, an exported directory, .pt2 or .onnx."
    ),
]


def export(
    model: Exported, directory: Directory, form: Forms = None, check: Check = False, data: DataSpec = None,
    max_loss: MaxLoss = 0.01, licence: Licence = "unknown", trust: Trust = False, tracking_uri: TrackingUri = None,
    storage: Storage = STORAGE, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write a student's files, which need no tutelage to run, with a model card and a manifest."""
    from tutelage.export import export as exporting

    options = exporting.Options(
        forms=form or (), check=check, data=load(data, None) if data else None, max_loss=max_loss,
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
    model: Evaluated,
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
