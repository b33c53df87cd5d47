"""The explorer as an ASGI application: its built page, and the requests that the page makes."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from tutelage.dashboard import candidate, guard, promotion
from tutelage.dashboard.answers import RequestFailed
from tutelage.dashboard.reader import Reader
from tutelage.dashboard.settings import Settings
from tutelage.dashboard.snapshot import increment

logger = logging.getLogger(__name__)


STATIC = Path(__file__).parent / "static"  # written by `make explorer`

SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_NOT_BUILT = (
    "<!doctype html><title>Tutelage</title><p>The explorer's page is not built. In a checkout, run <code>make explorer</code>."
)


def explorer(reader: Reader, settings: Settings, *, in_frames: bool = False) -> Starlette:
    """Return the application that serves the explorer of the sweeps that `reader` reads.

    `in_frames` is for a notebook: a page of another address may show it in a frame, and MLflow is not at this address.
    """
    explored = _Explorer(reader, settings, has_mlflow=not in_frames)
    routes = [
        Route("/api/session", explored.session),
        Route("/api/sweeps", explored.sweeps),
        Route("/api/sweeps/{run_id}/snapshot", explored.snapshot),
        Route("/api/sweeps/{run_id}/candidates/{name:path}", explored.candidate),
        Route("/api/sweeps/{run_id}/promote", explored.promote, methods=["POST"]),
        Mount("/", app=_Page(in_frames)),
    ]
    handlers: dict[Any, Callable[..., Any]] = {RequestFailed: _failed, HTTPException: _not_found, Exception: _broken}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(GZipMiddleware, compresslevel=3)])


def to_the_page(request: Request) -> Response:
    """Redirect from the explorer's address without its last slash; the token in the query stays."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}")


class _Explorer:
    """The requests that the page makes; those that are not `async` run in a thread each."""

    def __init__(self, reader: Reader, settings: Settings, *, has_mlflow: bool) -> None:
        self._reader, self._settings, self._has_mlflow = reader, settings, has_mlflow

    def session(self, request: Request) -> Response:
        return _json({"can_promote": self._settings.can_promote, "mlflow": self._has_mlflow, "version": version("tutelage")})

    def sweeps(self, request: Request) -> Response:
        return _json(self._reader.sweeps())

    def snapshot(self, request: Request) -> Response:
        read, query = self._reader.snapshot(request.path_params["run_id"]), request.query_params
        since = query.get("since", "")
        part = increment(read.document, int(since), query.get("revision", "")) if since.isdecimal() and len(since) < 10 else {}
        if "since" in part:
            return _json(part)
        etag = f'"{read.tag}"'
        if request.headers.get("if-none-match", "").removeprefix("W/") == etag:
            return Response(status_code=304, headers={**SAFE, "ETag": etag})
        headers = {**SAFE, "ETag": etag, "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("accept-encoding", ""):  # such as curl's
            return Response(gzip.decompress(read.data), media_type="application/json", headers=headers)
        return Response(read.data, media_type="application/json", headers={**headers, "Content-Encoding": "gzip"})

    def candidate(self, request: Request) -> Response:
        asked = request.path_params
        return _json(candidate.detail(self._reader, asked["run_id"], asked["name"], self._settings.storage))

    async def promote(self, request: Request) -> Response:
        if not self._settings.can_promote:
            way_out = "Start `tutelage dashboard SWEEP --allow-promote` where the sweep's storage is."
            raise RequestFailed(403, "Students cannot be promoted from this page.", "The server does not allow it.", way_out)
        if not self._settings.is_token(request.headers.get(guard.HEADER)):
            raise guard.no_token()
        wanted = promotion.wanted(await request.body())
        run_id = request.path_params["run_id"]
        document = (await run_in_threadpool(self._reader.snapshot, run_id)).document
        return _json(await run_in_threadpool(promotion.promote, run_id, document, self._settings.storage, wanted))


class _Page(StaticFiles):
    """The built page: never taken from a cache without asking, and with headers that allow it this site's files only."""

    def __init__(self, in_frames: bool) -> None:
        super().__init__(directory=STATIC, html=True, check_dir=False)
        policy = (
            SAFE["Content-Security-Policy"].partition("; frame-ancestors")[0] if in_frames else SAFE["Content-Security-Policy"]
        )
        self._headers = {**SAFE, "Content-Security-Policy": policy}

    async def check_config(self) -> None:
        """Take a directory that is not there: a checkout has no built page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await super().__call__(scope, receive, send)
        else:
            await WebSocketClose()(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not (STATIC / "index.html").exists():
            return HTMLResponse(_NOT_BUILT, status_code=200 if path == "." else 404, headers=self._headers)
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        return response


def _json(document: Any, status: int = 200) -> Response:
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))  # ASCII: half a surrogate pair in a name is no UTF-8
    return Response(text, status, media_type="application/json", headers=SAFE)


def _failed(request: Request, error: RequestFailed) -> Response:
    return _json(error.document(), error.status)


def _not_found(request: Request, error: HTTPException) -> Response:
    said = RequestFailed(error.status_code, "There is no such page.", error.detail, "Open the explorer's own address.")
    return _json(said.document(), error.status_code)


def _broken(request: Request, error: Exception) -> Response:
    logger.error("the explorer failed at %s", request.url.path, exc_info=error)
    said = RequestFailed(500, "The explorer failed.", type(error).__name__, "The server's log has the traceback.")
    return _json(said.document(), 500)
