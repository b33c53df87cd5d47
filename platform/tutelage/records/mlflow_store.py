"""The opening of an MLflow store: its client, its database, its experiment, and the run of a sweep in it."""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import mlflow
import sqlalchemy
from mlflow.exceptions import MlflowException

from tutelage import environment
from tutelage.errors import InputError, UnreachableError, first_line
from tutelage.measure import Measure
from tutelage.redaction import redact
from tutelage.spec.paths import sqlite_path
from tutelage.storage import StorageFailed, lease_in_turn, open_storage

logger = logging.getLogger(__name__)


PROBE_TIMEOUT_S = 10.0


ARTIFACTS = "tutelage.artifacts"  # the experiment's tag with the place of its artifacts, where that is beside the database


_PLACES = (  # columns of MLflow's tables that hold an absolute place of artifacts
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"),
)  # fmt: skip


_SERVER_LOCKS = {  # how a database server's lock is tried, and how it is waited for
    "postgresql": ("select pg_try_advisory_lock(:key)", "select pg_advisory_lock(:key)"),
    "mysql": ("select get_lock(cast(:key as char), 0)", "select get_lock(cast(:key as char), 3600)"),
}


_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow's own would send create_run again when only its answer was lost
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


_environment_lock = threading.RLock()


@contextmanager
def one_attempt() -> Iterator[None]:
    """Keep MLflow's client from trying again by itself, and from printing to stdout, for the time of a block."""
    with _environment_lock, environment.set_to(_ENVIRONMENT):
        yield


def open_client(uri: str) -> mlflow.MlflowClient:
    """Return a client of the store at `uri`; an SQLite database that is not there is made, by one process at a time.

    Raises `UnreachableError` for a store that does not respond, is damaged, or is a directory that MLflow no longer writes.
    """
    if ("://" not in uri and not uri.startswith(("sqlite:", "postgresql", "mysql"))) or uri.startswith("file:"):
        raise UnreachableError(
            f"tracking URI {redact(uri)} is a directory, which MLflow no longer writes. Use sqlite:///FILE.db or an http:// "
            "server."
        )
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs the traceback of each error that it raises
    if uri.startswith(("http://", "https://")):
        _probe(uri)
    try:
        with _in_turn(uri):
            return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        raise UnreachableError(out_of_reach(uri, error)) from None


@contextmanager
def _in_turn(uri: str) -> Iterator[None]:
    """Be the only process that opens the database at `uri`: MLflow makes its tables, and two that do so collide."""
    database = sqlite_path(uri)
    key = database.name if database else "mlflow.db"
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
    with turn(uri, key, "the database of MLflow", logger.warning), ExitStack() as stack:
        if database:
            stack.enter_context(_no_directories_by_mistake(uri))
            _check_database(database)
        yield


@contextmanager
def turn(uri: str, key: str, what: str, say: Callable[[str], None], beside: Path | None = None) -> Iterator[None]:
    """Be the only process that is at work on `what`, whose name is `key`, within the block; a second one waits, with a message.

    The lock is a lease beside an SQLite database, or one of the database server's own, which ends with the connection. An HTTP
    server has none: there it is a lease in the directory `beside`, if one is given.
    """
    database = sqlite_path(uri)
    directory = database.parent if database else beside
    kind = next((kind for kind in _SERVER_LOCKS if uri.startswith(kind)), None)
    with ExitStack() as stack:
        if kind:
            stack.enter_context(_server_lock(uri, kind, key, what, say))
        elif directory:
            with suppress(StorageFailed):  # a directory that cannot be written: nobody changes anything there
                stack.enter_context(lease_in_turn(open_storage(directory), key, say, what))
        yield


@contextmanager
def _server_lock(uri: str, kind: str, key: str, what: str, say: Callable[[str], None]) -> Iterator[None]:
    attempt, wait = (sqlalchemy.text(one) for one in _SERVER_LOCKS[kind])
    engine, name = sqlalchemy.create_engine(uri), {"key": zlib.crc32(key.encode())}
    try:
        with engine.connect() as connection:
            if not connection.execute(attempt, name).scalar():
                say(f"another process is at work on {what}; waiting for it")
                connection.execute(wait, name)
            yield
    finally:
        engine.dispose()


def _check_database(database: Path) -> None:
    """Raise `sqlite3.Error` for a file that is no database; have its artifacts lie beside it where both were moved."""
    here = artifacts_beside(database)
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        if not {"experiment_tags", *(table for table, _ in _PLACES)} <= tables:
            return
        query = "select distinct value from experiment_tags where key = ? and value <> ?"
        for (there,) in connection.execute(query, (ARTIFACTS, here)).fetchall():
            for table, column in _PLACES:
                connection.execute(
                    f"update {table} set {column} = ?1 || substr({column}, length(?2) + 1) "
                    f"where substr({column}, 1, length(?2)) = ?2 and substr({column}, length(?2) + 1, 1) in ('', '/')",
                    (here, there),
                )
            connection.execute("update experiment_tags set value = ? where key = ? and value = ?", (here, ARTIFACTS, there))


@contextmanager
def _no_directories_by_mistake(uri: str) -> Iterator[None]:
    """Remove the empty directories that MLflow makes at the path of a URI as it is written, with its quoted signs."""
    written = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent
    missing = [path for path in (written, *written.parents) if not path.exists()]
    yield
    for path in missing:
        with suppress(OSError):
            path.rmdir()


def artifacts_beside(database: Path) -> str:
    """Return the URI of the directory of artifacts that belongs to an SQLite database."""
    return (database.parent / "artifacts").resolve().as_uri()


def ready_experiment(client: mlflow.MlflowClient, uri: str, name: str, primary: Measure) -> str:
    """Return the id of the experiment `name`, made if it is not there; `InputError` for one that was deleted."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return _active(uri, found)
    tags = {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": primary.mlflow_key,
        "mlflow.experiment.primaryMetric.greaterIsBetter": str(primary.direction == "maximise").lower(),
    }
    location = None
    if database := sqlite_path(uri):  # MLflow's own default is a directory below wherever one happens to stand
        location = tags[ARTIFACTS] = artifacts_beside(database)
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=tags))
    except MlflowException:  # another process created it in between
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return _active(uri, found)


def experiment_of_run(client: mlflow.MlflowClient, uri: str, run_id: str) -> str | None:
    """Return the id of the experiment that a sweep's run is in, whatever its name is now; None if there is no such run.

    Raises `InputError` for a run or an experiment that was deleted.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    experiment_id = _active(uri, client.get_experiment(run.info.experiment_id))
    if run.info.lifecycle_stage != "active":
        raise InputError(
            f"the run of this sweep, {run_id}, was deleted in MLflow. Restore it: "
            f"MLFLOW_TRACKING_URI='{redact(uri)}' mlflow runs restore --run-id {run_id}"
        )
    return experiment_id


def _active(uri: str, experiment: mlflow.entities.Experiment) -> str:
    if experiment.lifecycle_stage != "active":
        raise InputError(
            f"the experiment '{experiment.name}' was deleted in MLflow at {redact(uri)}. Restore it "
            f"(MLFLOW_TRACKING_URI='{redact(uri)}' mlflow experiments restore --experiment-id {experiment.experiment_id}), "
            "or name another for a new sweep: --set tracking.experiment=NAME."
        )
    return str(experiment.experiment_id)


def _probe(uri: str) -> None:
    """Request a server's health once, so that a wrong address is reported in seconds and not after MLflow's retries."""
    import requests

    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except requests.RequestException as error:
        raise UnreachableError(out_of_reach(uri, error)) from None
    if answer.status_code == 403:
        raise UnreachableError(
            f"MLflow at {redact(uri)} responds with 403. Start it with --allowed-hosts naming this host and port, "
            "or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


def out_of_reach(uri: str, error: Exception) -> str:
    """Return in words that a store does not respond, why, and what to set."""
    way_out = "Set `tracking.uri` or --tracking-uri to a store that responds."
    if database := sqlite_path(uri):
        way_out += f" If {database} is damaged, move it away: a sweep's runs are written again from its ledger."
    return f"MLflow at {redact(uri)} is out of reach ({redact(first_line(error))}). {way_out}"
