"""MLflow's model registry: a student is registered only if its logged form gives the same logits in a clean process."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType
from torch import Tensor, nn

from tutelage.errors import InputError, UnreachableError, WorkFailed
from tutelage.export import read_back, table_rows
from tutelage.export.interface import Port, arguments_of, outputs_of
from tutelage.export.program import program_bytes, program_of
from tutelage.networks import checkpoint
from tutelage.networks.blank import argument_names
from tutelage.records.mlflow_store import one_attempt
from tutelage.redaction import redact
from tutelage.signature import Signature
from tutelage.spec.paths import sqlite_path

REQUIREMENTS = ("torch", "numpy")


CHAMPION, PREVIOUS = "champion", "previous"


_COLUMN_TYPES: dict[str, DataType | AnyType] = {
    "number": AnyType(),  # type: ignore[no-untyped-call]  # MLflow refuses integers for a column of doubles
    "boolean": DataType.boolean,
    "words": DataType.string,
}


OWNER = "tutelage.task"  # the tag by which a registered model belongs to a task


_ALIAS = re.compile(r"[\w-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A sweep's run in MLflow, under which its models are logged."""

    uri: str
    experiment_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network to be registered: its signature, the `arguments` of two or more real examples, and its `tags`.

    `files`, such as its weights and architecture, are kept beside the program.
    """

    model: nn.Module
    signature: Signature
    arguments: tuple[Tensor, ...]
    tags: Mapping[str, str]
    files: Sequence[Path] = ()

    def __post_init__(self) -> None:
        assert len(self.arguments[0]) >= 2, "a batch of one would fix the exported batch size"
        self.model.eval()


@dataclass(frozen=True, kw_only=True)
class RegisteredStudent:
    """A version in the registry, its aliases, and the former champion's version if it is the champion.

    `distance` is the largest difference of a logit from the student's.
    """

    name: str
    version: str
    aliases: list[str]
    previous: str | None
    model_uri: str
    distance: float


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that has the alias `champion`, and the trial and sweep that it came from, where that is on record."""

    name: str
    version: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """The version that is champion again, and the version that was before; a second `tutelage rollback` undoes it."""

    name: str
    champion: str
    previous: str


def requirements() -> list[str]:
    """Return the packages that a registered student needs, pinned to those installed; torch without its build's suffix."""
    return [f"{package}=={version(package).split('+')[0]}" for package in REQUIREMENTS]


def check_name(name: str) -> None:
    """Raise `InputError` for what cannot be the name of a registered model."""
    if not name.strip() or name in (".", "..") or any(sign in name for sign in "/:@"):
        raise InputError(f"'{name}' is no name of a registered model. Use a word such as digits, without /, : and @.")


def check_aliases(aliases: Sequence[str]) -> None:
    """Raise `InputError` for an alias that MLflow does not accept, or that is reserved."""
    for alias in aliases:
        if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"v\d+", alias, re.IGNORECASE):
            raise InputError(f"'{alias}' is no alias. Use letters, digits, - and _, such as smallest; not latest, not v1.")
        if alias in (CHAMPION, PREVIOUS):
            raise InputError(
                f"the alias {alias} is reserved; --register assigns it if the student beats the champion, or with --force."
            )


def find_champion(uri: str, name: str, task: str) -> Champion | None:
    """Return the champion of a registered model; None if there is none yet.

    Raises `InputError` if the name belongs to another task, `UnreachableError` if the registry is not reachable or refuses.
    """
    with _stores(uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        model = _known(client, uri, name)
        if model is None:
            return None
        if (owner := model.tags.get(OWNER)) != task:
            raise InputError(f"the registered model '{name}' belongs to task '{owner}', not '{task}'. Use another name.")
        version = model.aliases.get(CHAMPION)
        if version is None:
            return None
        tags = client.get_model_version(name, str(version)).tags
        origin = f"{tags.get('tutelage.sweep', '?')}/{tags.get('tutelage.trial', '?')}"
        return Champion(name=name, version=str(version), origin=origin)


def register_student(
    run: Run, candidate: Candidate, name: str, *, as_champion: bool = True, aliases: Sequence[str] = ()
) -> RegisteredStudent:  # fmt: skip
    """Log a candidate as a torch.export program under the sweep's run, read it back elsewhere, and make it a version of `name`.

    The version gets `aliases`, and with `as_champion` that of `champion`; the former champion is then `previous`. Raises
    `WorkFailed` if the logged model's logits differ from the candidate's, which is then not registered, and as `find_champion`
    does.
    """
    find_champion(run.uri, name, candidate.tags[OWNER])
    with _stores(run.uri):
        client = mlflow.MlflowClient(tracking_uri=run.uri, registry_uri=run.uri)
        model_id, distance = _logged(client, run, candidate, name)
        with contextlib.suppress(MlflowException):  # it is there already; its owner was checked
            client.create_registered_model(name, tags={OWNER: candidate.tags[OWNER]})
        made = client.create_model_version(
            name, source=f"models:/{model_id}", run_id=run.run_id, tags=dict(candidate.tags), model_id=model_id
        )
        version = str(made.version)
        previous = _crown(client, name, version) if as_champion else None
        for alias in aliases:
            client.set_registered_model_alias(name, alias, version)
    given = [*([CHAMPION] if as_champion else []), *aliases]
    uri_of = f"models:/{name}@{given[0]}" if given else f"models:/{name}/{version}"
    return RegisteredStudent(name=name, version=version, aliases=given, previous=previous, model_uri=uri_of, distance=distance)


def _logged(client: mlflow.MlflowClient, run: Run, candidate: Candidate, name: str) -> tuple[str, float]:
    """Return the ID of the logged model and its largest difference from the candidate; one that differs is deleted."""
    cases = read_back.cases_of(candidate.model, candidate.signature, candidate.arguments)
    model_id = _log(run, candidate, name)
    try:
        distance = distance_when_read_back(run.uri, f"models:/{model_id}", cases, candidate.signature)
        if not distance <= (limit := read_back.allowed(cases)):
            raise WorkFailed(
                f"the logged model's logits differ by {distance:g} from the student's (allowed: {limit:g}), so it was not "
                "registered."
            )
    except BaseException:
        client.delete_logged_model(model_id)
        raise
    return model_id, distance


def roll_back(uri: str, name: str) -> RolledBack:
    """Make the previous champion the champion again, and the champion the previous one.

    Raises `InputError` if there is no such model, or none was champion before.
    """
    check_name(name)
    with _stores(uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        model = _known(client, uri, name)
        if model is None:
            raise InputError(f"no registered model '{name}' at {redact(uri)}. Another MLflow: --tracking-uri.")
        previous = model.aliases.get(PREVIOUS)
        if previous is None:
            raise InputError(f"no version of '{name}' was champion before: there is no previous champion.")
        now = _crown(client, name, str(previous))
    return RolledBack(name=name, champion=str(previous), previous=str(now))


def _known(client: mlflow.MlflowClient, uri: str, name: str) -> Any:
    """Return the registered model `name`, None if there is none."""
    try:
        with one_attempt():
            return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise InputError(f"MLflow takes no registered model called '{name}': {error.message}") from None
        raise UnreachableError(
            f"the model registry at {redact(uri)} is not reachable or refuses: {error}. Set tracking.uri to one that is, and "
            "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, if it requires them."
        ) from None


def _crown(client: mlflow.MlflowClient, name: str, version: str) -> str | None:
    """Make a version the champion; the former champion becomes `previous` and is returned."""
    former = client.get_registered_model(name).aliases.get(CHAMPION)
    if former is not None and str(former) != version:
        client.set_registered_model_alias(name, PREVIOUS, str(former))
    client.set_registered_model_alias(name, CHAMPION, version)
    return str(former) if former is not None else None


def _log(run: Run, candidate: Candidate, name: str) -> str:
    mlflow.set_experiment(experiment_id=run.experiment_id)
    with mlflow.start_run(run_id=run.run_id), tempfile.TemporaryDirectory() as scratch:
        try:
            log = _log_rows if table_rows.is_table(candidate.signature) else _log_network
            info = log(candidate, name, Path(scratch))
        except Exception as error:
            _forget_failed(run.run_id)
            raise WorkFailed(f"the student could not be logged as a model: {error}") from error
    return str(info.model_id)


def _log_network(candidate: Candidate, name: str, scratch: Path) -> Any:
    return mlflow.pytorch.log_model(
        candidate.model, name=name, signature=_mlflow_signature(candidate), input_example=_input_example(candidate),
        pip_requirements=requirements(), tags=dict(candidate.tags), serialization_format="pt2",
        extra_files=[str(file) for file in (*candidate.files, *_example_file(candidate, scratch))],
    )  # fmt: skip


def _log_rows(candidate: Candidate, name: str, scratch: Path) -> Any:
    """Log a model that takes rows of a table by column name: a file of code, the program, and its preprocessing."""
    spec, files = candidate.signature.inputs[0], {file.name: str(file) for file in candidate.files}
    script, program, about = (scratch / one for one in ("serve_rows.py", "model.pt2", "preprocessing.json"))
    script.write_text(table_rows.served(), encoding="utf-8")
    program.write_bytes(program_bytes(program_of(candidate.model, candidate.signature), {}))
    about.write_text(json.dumps(table_rows.preprocessing(spec)), encoding="utf-8")
    return mlflow.pyfunc.log_model(
        python_model=str(script), name=name, signature=_mlflow_signature(candidate),
        input_example=pd.DataFrame(table_rows.rows_of(candidate.arguments[0].numpy(), spec)),
        artifacts={"program": str(program), "preprocessing": str(about), **files},
        pip_requirements=requirements(), tags=dict(candidate.tags),
    )  # fmt: skip


def _mlflow_signature(candidate: Candidate) -> ModelSignature:
    """Return the signature in MLflow's terms; a single input has no name there, so that a request needs none."""
    if table_rows.is_table(candidate.signature):
        given = candidate.signature.inputs[0].columns
        columns: list[ColSpec | TensorSpec] = [ColSpec(_COLUMN_TYPES[one.kind], one.name) for one in given]
        return ModelSignature(inputs=Schema(columns), outputs=_schema(outputs_of(candidate.signature, candidate.model)))
    arguments, outputs = arguments_of(candidate.signature), outputs_of(candidate.signature, candidate.model)
    return ModelSignature(inputs=_schema(arguments), outputs=_schema(outputs))


def _schema(ports: Sequence[Port]) -> Schema:
    def spec(port: Port) -> TensorSpec:
        shape = tuple(size if isinstance(size, int) else -1 for size in port.shape)
        return TensorSpec(np.dtype(port.dtype), shape, port.name if len(ports) > 1 else None)

    return Schema([spec(port) for port in ports])


def _input_example(candidate: Candidate) -> Any:
    """Return what MLflow traces the network with: an array, which it keeps beside the model, or several in order."""
    arrays = tuple(tensor.numpy() for tensor in candidate.arguments)
    return arrays[0] if len(arrays) == 1 else arrays


def _example_file(candidate: Candidate, scratch: Path) -> list[Path]:
    """Return the file of an example of several inputs by name, which MLflow does not keep itself; none for a single input."""
    if len(candidate.arguments) == 1:
        return []
    named = zip(argument_names(candidate.signature), candidate.arguments, strict=True)
    path = scratch / "input_example.json"
    path.write_text(json.dumps({"inputs": {name: tensor[:2].tolist() for name, tensor in named}}), encoding="utf-8")
    return [path]


def _forget_failed(run_id: str) -> None:
    """Delete the incomplete model that a failed log leaves behind."""
    experiment_id = mlflow.get_run(run_id).info.experiment_id
    for model in mlflow.search_logged_models([experiment_id], output_format="list"):
        if model.source_run_id == run_id and str(model.status).endswith("FAILED"):
            mlflow.MlflowClient().delete_logged_model(model.model_id)


def distance_when_read_back(uri: str, model_uri: str, cases: Sequence[read_back.Case], signature: Signature) -> float:
    """Return the largest absolute difference of the logged model's logits from those of `cases`, computed without tutelage."""
    kind: read_back.Kind = "rows" if table_rows.is_table(signature) else "mlflow"
    return read_back.differences(cases, signature, {"logged": (kind, [uri, model_uri])})["logged"]


@contextlib.contextmanager
def _stores(uri: str) -> Iterator[None]:
    """Point MLflow's own functions to `uri` for a while, without their output.

    Raises `InputError` for an SQLite database that is not there: MLflow would make an empty one.
    """
    if (database := sqlite_path(uri)) and not database.exists():
        raise InputError(f"there is no database of MLflow at {database}. Another MLflow: --tracking-uri, or --storage.")
    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    level = logging.getLogger("mlflow").level
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("mlflow").setLevel(level)
        mlflow.set_tracking_uri(tracking)
        mlflow.set_registry_uri(registry)


def download(uri: str, model_uri: str) -> Path:
    """Return a local copy of a registered model's files; `InputError` if there is none of that name."""
    with _stores(uri):
        try:
            return Path(mlflow.artifacts.download_artifacts(model_uri))
        except (MlflowException, OSError) as error:
            raise InputError(f"no model {model_uri} in the registry: {error}") from None


def download_network(uri: str, model_uri: str) -> Path | None:
    """Return a local copy of a registered model's weights and architecture, a directory; None if it holds none."""
    found = sorted(download(uri, model_uri).rglob(checkpoint.ARCHITECTURE))
    return found[0].parent if found else None
