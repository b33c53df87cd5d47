"""MLflow's own server with the explorer at `/tutelage/`: `mlflow server --app-name tutelage` serves both on one address.

MLflow's documentation shows a Flask application here, which is an error at every page of its uvicorn server; this is ASGI.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import closing

import mlflow
from fastapi import FastAPI
from flask import Response
from starlette.routing import Mount, Route

from tutelage.dashboard.guard import Guard
from tutelage.dashboard.pages import explorer, to_the_page
from tutelage.dashboard.reader import Reader
from tutelage.dashboard.settings import Settings

logger = logging.getLogger(__name__)


PATH = "/tutelage"


def create_app() -> FastAPI:
    """Return MLflow's application with the explorer, by the settings of the environment; the entry point `mlflow.app`."""
    return with_explorer(Settings.from_environment())


def with_explorer(settings: Settings) -> FastAPI:
    """Return MLflow's application with the explorer; the environment names MLflow's store, as `mlflow server` sets it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Starlette, about MLflow's own imports
        from mlflow.server.fastapi_app import create_fastapi_app
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    app: FastAPI = create_fastapi_app()
    place = os.environ.get(STATIC_PREFIX_ENV_VAR, "").rstrip("/") + PATH
    reader = Reader(_client(), _artifact_of_server)
    app.router.routes.insert(0, Mount(place, app=explorer(reader, settings)))
    app.router.routes.insert(1, Route(place, to_the_page))
    if settings.is_guarded:
        app.add_middleware(Guard, settings=settings)
    return app


def _client() -> mlflow.MlflowClient:
    """Return a client of the store of the server in this process."""
    from mlflow.server import BACKEND_STORE_URI_ENV_VAR  # type: ignore[attr-defined]

    return mlflow.MlflowClient(tracking_uri=os.environ[BACKEND_STORE_URI_ENV_VAR])


def _artifact_of_server(run_id: str, path: str) -> bytes | None:
    """Return a file of a run as the server in this process gives it, wherever it keeps artifacts; None if it is not there.

    The function of MLflow's page is called without its checks of a request's host, which are for browsers.
    """
    from mlflow.server import app, serve_artifacts

    with app.test_request_context(query_string={"run_uuid": run_id, "path": path}):
        try:
            answer: Response = serve_artifacts()  # type: ignore[no-untyped-call]
        except Exception as error:  # of the artifact store, of which MLflow's server would make an answer
            logger.warning("%s of run %s cannot be read: %s", path, run_id, error)
            return None
        with closing(answer):
            answer.direct_passthrough = False
            return answer.get_data() if answer.status_code == 200 else None
