"""MLflow's model registry: a student goes in only after it was read back in a clean process and answered the same."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from torch import Tensor, nn

from tutelage import clean_process
from tutelage.errors import InputError, UnreachableError, WorkFailed

TOLERANCE = 1e-5
CHAMPION, PREVIOUS = "champion", "previous"
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
    """A version in the registry, the alias that now points to it, and the version that had the alias before."""

    name: str
    version: str
    alias: str
    previous: str | None
    model_uri: str
    distance: float


def register_student(
    *, uri: str, experiment: str, run_id: str, name: str, model: nn.Module, example: Tensor,
    requirements: Sequence[str], tags: Mapping[str, str], files: Sequence[Path] = (),
) -> RegisteredStudent:  # fmt: skip
    """Log `model` as a torch.export program under the sweep's run, read it back elsewhere, and make it the champion.

    `example` is `[n ≥ 2, …]` of real inputs; `files` are kept beside the program. The former champion
    gets the alias `previous`. Raises `WorkFailed` if the model that was read back answers more than 1e-5 apart (nothing is
    registered then), `InputError` if the name belongs to another task.
    """
    assert len(example) >= 2, "a batch of one would fix the exported batch size"
    with _stores(uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        _check_owner(client, name, tags["tutelage.task"])
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
        return _promote(client, name, model_uri, model_id, run_id, tags, distance)


def _check_owner(client: mlflow.MlflowClient, name: str, task: str) -> None:
    try:
        owner = client.get_registered_model(name).tags.get("tutelage.task")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return
        raise UnreachableError(f"the model registry does not answer: {error}") from None
    if owner != task:
        raise InputError(f"the registered model '{name}' belongs to task '{owner}', not '{task}'. Use another name.")


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
        if failure := clean_process.run(_ANSWER, [uri, model_uri, str(asked), str(answered)], scratch):
            raise WorkFailed(f"the logged model cannot be read back: {failure}")
        return float(np.abs(np.load(answered) - expected).max())


def _promote(
    client: mlflow.MlflowClient, name: str, model_uri: str, model_id: str, run_id: str, tags: Mapping[str, str],
    distance: float,
) -> RegisteredStudent:  # fmt: skip
    with contextlib.suppress(MlflowException):  # it is there already; its owner was checked
        client.create_registered_model(name, tags={"tutelage.task": tags["tutelage.task"]})
    version = client.create_model_version(name, source=model_uri, run_id=run_id, tags=dict(tags), model_id=model_id)
    previous = client.get_registered_model(name).aliases.get(CHAMPION)
    if previous is not None:
        client.set_registered_model_alias(name, PREVIOUS, previous)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return RegisteredStudent(
        name=name, version=str(version.version), alias=CHAMPION, previous=str(previous) if previous else None,
        model_uri=f"models:/{name}@{CHAMPION}", distance=distance,
    )  # fmt: skip


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
