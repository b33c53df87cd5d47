"""MLflow's model registry: a student goes in only after it was read back in a clean process and answered the same."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from torch import Tensor, nn

from tutelage.errors import InputError, UnreachableError, WorkFailed
from tutelage.export import isolated_python
from tutelage.networks import checkpoint
from tutelage.records.mlflow_format import redact
from tutelage.records.mlflow_writer import one_attempt

TOLERANCE = 1e-5


CHAMPION, PREVIOUS = "champion", "previous"


OWNER = "tutelage.task"  # the tag by which a registered model belongs to a task


_ALIAS = re.compile(r"[\w-]+", re.ASCII)


_ANSWER = """
import sys, mlflow, numpy, torch
uri, model_uri, inputs, outputs = sys.argv[1:]
mlflow.set_tracking_uri(uri); mlflow.set_registry_uri(uri)
model = mlflow.pytorch.load_model(model_uri)
rows = torch.from_numpy(numpy.load(inputs))
with torch.inference_mode():
    answers = [model(rows), torch.cat([model(rows[:1]), model(rows[1:])])]
numpy.save(outputs, torch.stack(answers).numpy())
"""


@dataclass(frozen=True, kw_only=True)
class RegisteredStudent:
    """A version in the registry, the aliases that now point to it, and who was champion before, if it is the champion."""

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
    """Which version is champion again, and which one no longer is; `tutelage rollback` once more would undo it."""

    name: str
    champion: str
    previous: str


def check_aliases(aliases: Sequence[str]) -> None:
    """Raise `InputError` for an alias that MLflow does not take, or that is not given by request."""
    for alias in aliases:
        if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"v\d+", alias, re.IGNORECASE):
            raise InputError(f"'{alias}' is no alias. Letters, digits, - and _ make one, such as smallest; not latest, not v1.")
        if alias in (CHAMPION, PREVIOUS):
            raise InputError(
                f"the alias {alias} is not given by request: --register gives it to who is better, or with --force."
            )


def find_champion(uri: str, name: str, task: str) -> Champion | None:
    """Return the champion of a registered model; None if there is none yet.

    Raises `InputError` if the name belongs to another task, `UnreachableError` if the registry does not answer or refuses.
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
    *, uri: str, experiment: str, run_id: str, name: str, model: nn.Module, example: Tensor, requirements: Sequence[str],
    tags: Mapping[str, str], files: Sequence[Path] = (), as_champion: bool = True, aliases: Sequence[str] = (),
) -> RegisteredStudent:  # fmt: skip
    """Log `model` as a torch.export program under the sweep's run, read it back elsewhere, and make it a version of `name`.

    `example` is `[n ≥ 2, …]` of real inputs; `files` are kept beside the program. It gets `aliases`, and with `as_champion`
    that of `champion`; the former champion is then `previous`. Raises `WorkFailed` if the model that was read back answers
    more than 1e-5 apart (nothing is registered then), and as `find_champion` does.
    """
    assert len(example) >= 2, "a batch of one would fix the exported batch size"
    find_champion(uri, name, tags[OWNER])
    with _stores(uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        model_id = _log(experiment, run_id, name, model.eval(), example, requirements, tags, files)
        model_uri = f"models:/{model_id}"
        try:
            distance = distance_when_read_back(uri, model_uri, model, example)
            if not distance <= TOLERANCE:
                raise WorkFailed(
                    f"the logged model answers {distance:g} apart from the student (at most {TOLERANCE:g} is let pass), "
                    "so it was not registered."
                )
        except BaseException:
            client.delete_logged_model(model_id)
            raise
        with contextlib.suppress(MlflowException):  # it is there already; its owner was checked
            client.create_registered_model(name, tags={OWNER: tags[OWNER]})
        made = client.create_model_version(name, source=model_uri, run_id=run_id, tags=dict(tags), model_id=model_id)
        version = str(made.version)
        previous = _crown(client, name, version) if as_champion else None
        for alias in aliases:
            client.set_registered_model_alias(name, alias, version)
    given = [*([CHAMPION] if as_champion else []), *aliases]
    uri_of = f"models:/{name}@{given[0]}" if given else f"models:/{name}/{version}"
    return RegisteredStudent(name=name, version=version, aliases=given, previous=previous, model_uri=uri_of, distance=distance)


def roll_back(uri: str, name: str) -> RolledBack:
    """Make the previous champion the champion again, and the champion the previous one.

    Raises `InputError` if there is no such model, or none was champion before.
    """
    with _stores(uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        model = _known(client, uri, name)
        if model is None:
            raise InputError(f"no registered model '{name}' at {redact(uri)}. Another MLflow: --tracking-uri.")
        previous = model.aliases.get(PREVIOUS)
        if previous is None:
            raise InputError(f"no version of '{name}' was champion before: there is nothing to go back to.")
        now = _crown(client, name, str(previous))
    return RolledBack(name=name, champion=str(previous), previous=str(now))


def _known(client: mlflow.MlflowClient, uri: str, name: str) -> Any:
    """Return the registered model of that name, None if there is none."""
    try:
        with one_attempt():
            return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise UnreachableError(
            f"the model registry at {redact(uri)} does not answer, or refuses: {error}. Set tracking.uri to one that does, and "
            "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, where it asks who you are."
        ) from None


def _crown(client: mlflow.MlflowClient, name: str, version: str) -> str | None:
    """Give a version the alias `champion`, and who had it that of `previous`, which is returned."""
    former = client.get_registered_model(name).aliases.get(CHAMPION)
    if former is not None and str(former) != version:
        client.set_registered_model_alias(name, PREVIOUS, str(former))
    client.set_registered_model_alias(name, CHAMPION, version)
    return str(former) if former is not None else None


def _log(
    experiment: str, run_id: str, name: str, model: nn.Module, example: Tensor, requirements: Sequence[str],
    tags: Mapping[str, str], files: Sequence[Path],
) -> str:  # fmt: skip
    inputs = example.numpy()
    with torch.inference_mode():
        signature = infer_signature(inputs, model(example).numpy())
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_id=run_id):
        try:
            info = mlflow.pytorch.log_model(
                model, name=name, signature=signature, input_example=inputs, pip_requirements=list(requirements),
                tags=dict(tags), serialization_format="pt2", extra_files=[str(file) for file in files],
            )  # fmt: skip
        except Exception as error:
            _forget_failed(run_id)
            raise WorkFailed(f"the student could not be logged as a model: {error}") from error
    return str(info.model_id)


def _forget_failed(run_id: str) -> None:
    """Remove the half model that a failed log leaves behind."""
    experiment_id = mlflow.get_run(run_id).info.experiment_id
    for model in mlflow.search_logged_models([experiment_id], output_format="list"):
        if model.source_run_id == run_id and str(model.status).endswith("FAILED"):
            mlflow.MlflowClient().delete_logged_model(model.model_id)


def distance_when_read_back(uri: str, model_uri: str, model: nn.Module, inputs: Tensor) -> float:
    """Return the largest absolute difference between `model` and the logged one, read in a process without tutelage.

    The logged one answers the whole batch, and its first row and the rest apart.
    """
    with torch.inference_mode():
        expected = model.eval()(inputs).numpy()
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "inputs.npy", Path(scratch) / "outputs.npy"
        np.save(asked, inputs.numpy())
        if failure := isolated_python.run(_ANSWER, [uri, model_uri, str(asked), str(answered)], scratch):
            raise WorkFailed(f"the logged model cannot be read back: {failure}")
        return float(np.abs(np.load(answered) - expected).max())


@contextlib.contextmanager
def _stores(uri: str) -> Iterator[None]:
    """Point MLflow's own functions to `uri`, without their chatter, and back."""
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
