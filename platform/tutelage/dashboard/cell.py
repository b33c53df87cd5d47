"""The explorer for a cell of a notebook: its pages alone, without MLflow's, served by a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import mlflow
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tutelage.dashboard.guard import LOOPBACK
from tutelage.dashboard.pages import explorer
from tutelage.dashboard.reader import Reader
from tutelage.dashboard.serving import listening
from tutelage.dashboard.settings import Settings
from tutelage.errors import InputError
from tutelage.records.sweep_dir import SweepDir

_served: dict[tuple[str, str], str] = {}  # by MLflow's URI and the storage, the address


def serve_in_thread(home: SweepDir) -> str:
    """Return the address of a sweep's explorer; the server of a store is started once and ends with the process.

    It listens at this machine's own address and under no other name, so that no site reads it through a browser; it reads only,
    and may stand in a frame of another page: the notebook's.
    """
    run_id = home.facts().get("run_id")
    if run_id is None:
        raise InputError(
            f"sweep '{home.name}' has no run in MLflow yet, so there is nothing to explore: {home.command('resume')}."
        )
    key = (home.tracking_uri, home.storage.uri)
    if key not in _served:
        _served[key] = _started(*key)
    return f"{_served[key]}#sweep={quote(str(run_id))}"


def _started(uri: str, storage: str) -> str:
    import uvicorn

    reader = Reader(mlflow.MlflowClient(tracking_uri=uri), _artifact_of(uri))
    app = explorer(reader, Settings(storage=storage), in_frames=True)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))
    listener = listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="tutelage-explorer", daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def _artifact_of(uri: str) -> Any:
    def artifact(run_id: str, path: str) -> bytes | None:
        with TemporaryDirectory(prefix="tutelage-explorer-") as place:  # MLflow would keep what it downloads until a reboot
            try:
                found = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=uri, dst_path=place)
                return Path(found).read_bytes()
            except (OSError, mlflow.MlflowException):  # it is not there
                return None

    return artifact
