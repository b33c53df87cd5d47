"""MLflow's model registry: each of its models has one champion, which can be found, replaced, rolled back and downloaded."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from tutelage.errors import InputError, UnreachableError
from tutelage.export.logged_model import Candidate, Run, log_model
from tutelage.files import content_address
from tutelage.networks import checkpoint
from tutelage.records.mlflow_store import one_attempt, turn
from tutelage.redaction import redact
from tutelage.spec.paths import sqlite_path

logger = logging.getLogger(__name__)


CHAMPION, PREVIOUS = "champion", "previous"


OWNER = "tutelage.task"  # the tag by which a registered model belongs to a task


_ALIAS = re.compile(r"[\w-]+", re.ASCII)


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


def check_name(name: str) -> None:
    """Raise `InputError` for a name that MLflow does not accept."""
    if not name.strip() or name in (".", "..") or any(sign in name for sign in "/:@"):
        raise InputError(f"'{name}' is no name of a registered model. Use a word such as digits, without /, : and @.")


def check_aliases(aliases: Sequence[str]) -> None:
    """Raise `InputError` for an alias that MLflow does not accept, or that is reserved."""
    for alias in aliases:
        if not _ALIAS.fullmatch(alias) or alias.lower() == "latest" or re.fullmatch(r"v\d+", alias, re.IGNORECASE):
            raise InputError(f"'{alias}' is not an alias. Use letters, digits, - and _, such as smallest; not latest, not v1.")
        if alias in (CHAMPION, PREVIOUS):
            raise InputError(
                f"the alias {alias} is reserved; --register assigns it if the student beats the champion, or with --force."
            )


def find_champion(uri: str, name: str, task: str) -> Champion | None:
    """Return the champion of a registered model; None if there is none yet.

    Raises `InputError` if the name belongs to another task, `UnreachableError` if the registry is not reachable or rejects the
    request.
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
    """Log a candidate as a torch.export program under the sweep's run, and make it a version of `name`.

    The program is first read back in another process. The version gets `aliases`, and with `as_champion` also `champion`; the
    former champion is then `previous`. Raises `WorkFailed` if the logged model's logits differ from the candidate's,
    which is then not registered, and the errors of `find_champion`.
    """
    find_champion(run.uri, name, candidate.tags[OWNER])
    with _stores(run.uri):
        client = mlflow.MlflowClient(tracking_uri=run.uri, registry_uri=run.uri)
        model_id, distance = log_model(client, run, candidate, name)
        with contextlib.suppress(MlflowException):  # the model exists; its owner was checked
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


@contextlib.contextmanager
def in_turn(uri: str, name: str, say: Callable[[str], None], beside: Path | None = None) -> Iterator[None]:
    """Be the only process that looks for the champion of `name` and replaces it within the block; see `mlflow_store.turn`."""
    key = f"registered-{content_address(name=name)}"  # a model's name may be too long for a file name
    with turn(uri, key, f"the registered model '{name}'", say, beside):
        yield


def roll_back(uri: str, name: str) -> RolledBack:
    """Make the previous champion the champion again, and the champion the previous one.

    Raises `InputError` if there is no such model, or none was champion before.
    """
    check_name(name)
    with _stores(uri), in_turn(uri, name, logger.warning):
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
            raise InputError(f"MLflow accepts no registered model with the name '{name}': {error.message}") from None
        raise UnreachableError(
            f"the model registry at {redact(uri)} is not reachable or rejects the request: {error}. Set tracking.uri to "
            "one that accepts it, and MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, if it "
            "requires them."
        ) from None


def _crown(client: mlflow.MlflowClient, name: str, version: str) -> str | None:
    """Make a version the champion; the former champion becomes `previous` and is returned."""
    former = client.get_registered_model(name).aliases.get(CHAMPION)
    if former is not None and str(former) != version:
        client.set_registered_model_alias(name, PREVIOUS, str(former))
    client.set_registered_model_alias(name, CHAMPION, version)
    return str(former) if former is not None else None


@contextlib.contextmanager
def _stores(uri: str) -> Iterator[None]:
    """Point MLflow's own functions to `uri` for a while, without their output.

    Raises `InputError` for an SQLite database that is not there: MLflow would create an empty one.
    """
    if (database := sqlite_path(uri)) and not database.exists():
        raise InputError(f"there is no database of MLflow at {database}. Another MLflow: --tracking-uri, or --storage.")
    environment = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    tracking = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    registry = found if (found := mlflow.get_registry_uri()) != mlflow.get_tracking_uri() else ""
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
        mlflow.set_tracking_uri(tracking)  # type: ignore[arg-type]  # None: what is the default by then
        mlflow.set_registry_uri(registry)  # "": where the runs are
        for name, value in environment.items():  # both functions set them
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


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
