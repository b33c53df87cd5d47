"""`tutelage dashboard`: the explorer and MLflow on one address, over the store of a sweep or before an MLflow elsewhere."""

from __future__ import annotations

import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tutelage.dashboard.guard import LOOPBACK
from tutelage.dashboard.settings import Settings, new_token
from tutelage.errors import InputError, UnreachableError
from tutelage.records import mlflow_store, sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.spec.loading import default_tracking_uri, whole_uri
from tutelage.spec.paths import sqlite_path


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the dashboard is: MLflow of `uri`, opened at the sweep of the run `run_id` if it is one."""

    uri: str
    run_id: str = ""


def find(storage: str, name: str | None, tracking_uri: str | None) -> Address:
    """Return the MLflow of a sweep, or of a storage; `InputError` if there is no such sweep, or nothing was tracked yet."""
    home = sweeps.find(storage, name) if name is not None else None
    uri = whole_uri(tracking_uri) if tracking_uri else home.tracking_uri if home else default_tracking_uri(storage)
    database = sqlite_path(uri)
    if database and not database.exists():
        raise InputError(f"there is no MLflow store at {database}: {_why_no_store(storage, home, tracking_uri)}")
    return Address(uri=uri, run_id=home.facts().get("run_id", "") if home else "")


def _why_no_store(storage: str, home: SweepDir | None, tracking_uri: str | None) -> str:
    """Return why an SQLite store is not there, and the way out; opening it would make an empty one."""
    if tracking_uri:
        return "--tracking-uri names it. Name the database of an MLflow, or leave the option out for that of the storage."
    if home:
        return f"the sweep's runs were written to it, and it was moved or removed. `{home.command('track')}` writes them again."
    if known := sweeps.all_of(storage):
        return f"the sweeps in {storage} are tracked elsewhere. Name one: tutelage dashboard {known[0].name}."
    return (
        f"no sweep was run in {storage} yet. Run one (tutelage sweep SPEC), name another --storage, or an MLflow server with "
        "--tracking-uri."
    )


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own by one of the names that requests without a token may have."""
    return host in LOOPBACK


def settings_for(host: str, storage: str, *, promote: bool) -> Settings:
    """Return the settings for an address: other machines need a token, and so does every promotion."""
    is_guarded = not is_loopback(host)
    token = new_token() if is_guarded or promote else ""
    return Settings(token=token, is_guarded=is_guarded, can_promote=promote, storage=storage)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; `InputError` if that cannot be, as when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:  # the last for a name that is no host name
        raise InputError(f"{host}:{port} cannot be listened at: {error}. Choose another --port, or --host.") from None


def application(address: Address, settings: Settings) -> Any:
    """Return the application to serve; `UnreachableError` for a store that does not respond."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the page tries again by itself
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    mlflow_store.open_client(address.uri)
    if address.uri.startswith(("http://", "https://")):
        from tutelage.dashboard.proxy import proxy

        return proxy(address.uri, settings)
    database = sqlite_path(address.uri)
    artifacts = mlflow_store.artifacts_beside(database) if database else Path("mlartifacts").resolve().as_uri()
    if settings.is_guarded:  # by the token; MLflow would refuse this machine's own name
        os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", "*")  # before MLflow's server is imported, which reads it
    _name_store(address.uri, artifacts)
    from tutelage.dashboard.mlflow_app import with_explorer

    return with_explorer(settings)


def _name_store(uri: str, artifacts: str) -> None:
    """Set what `mlflow server` sets for its server's processes; it must be set before `mlflow.server` is imported."""
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    from mlflow import server

    stores = {
        "BACKEND_STORE_URI": uri,
        "REGISTRY_STORE_URI": uri,
        "ARTIFACT_ROOT": artifacts,
        "ARTIFACTS_DESTINATION": artifacts,
    }
    for name, value in {**stores, "SERVE_ARTIFACTS": "true"}.items():
        os.environ[getattr(server, f"{name}_ENV_VAR")] = value


def urls(listener: socket.socket, address: Address, settings: Settings) -> tuple[str, str]:
    """Return the addresses of the explorer, with the token where it is needed, and of MLflow."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, f"[{host}]" if ":" in host else host)
    token = f"?token={quote(settings.token)}" if settings.token else ""
    place = f"#sweep={quote(address.run_id)}" if address.run_id else ""
    return f"http://{name}:{port}/tutelage/{token}{place}", f"http://{name}:{port}/{token if settings.is_guarded else ''}"


def open_browser(url: str) -> None:
    """Open a page in a thread of its own: a browser that runs in the terminal returns only when it is closed."""
    threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()


def serve(address: Address, settings: Settings, listener: socket.socket, say: Callable[[str], None], *, browser: bool) -> None:
    """Serve until a signal ends it; says the addresses once they answer, and opens a browser."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            explorer, of_mlflow = urls(listener, address, settings)
            say(f"explorer: {explorer}")
            say(f"MLflow:   {of_mlflow}")
            if browser:
                open_browser(explorer)

    with listener:
        try:
            app = application(address, settings)
        except ModuleNotFoundError as error:
            raise UnreachableError(f"MLflow's server cannot be started: {error}. Install mlflow, not mlflow-skinny.") from None
        config = uvicorn.Config(app, log_level="warning", access_log=False)  # its lines would hold the token
        Server(config).run(sockets=[listener])
