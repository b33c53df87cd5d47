"""The explorer before an MLflow that runs elsewhere: its pages are fetched from there, so that both are on one address."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit, urlunsplit

import anyio.from_thread
import mlflow
import requests
from mlflow.environment_variables import (
    MLFLOW_TRACKING_CLIENT_CERT_PATH,
    MLFLOW_TRACKING_INSECURE_TLS,
    MLFLOW_TRACKING_SERVER_CERT_PATH,
)
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from tutelage.dashboard import answers
from tutelage.dashboard.answers import RequestFailed
from tutelage.dashboard.guard import COOKIE, HEADER, LOOPBACK, QUERY, Guard, is_own
from tutelage.dashboard.pages import explorer, to_the_page
from tutelage.dashboard.reader import Reader
from tutelage.dashboard.settings import Settings

TIMEOUT_S = 60.0
CHUNK_BYTES = 65_536
READING = ("GET", "HEAD", "OPTIONS")
METHODS = [*READING, "POST", "PUT", "PATCH", "DELETE"]
_OF_ONE_CONNECTION = {  # headers that are not passed on (RFC 9110, 7.6.1), beside those that `Connection` names
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
_OF_THE_PROXY = {"host", "expect", "content-length", HEADER}  # of a request; the proxy's server has answered `Expect`


def proxy(uri: str, settings: Settings) -> Starlette:
    """Return an application with the explorer at `/tutelage/`, and all else from the MLflow at `uri`.

    Requests by other names than the loopback address are refused unless the application is guarded by its token.
    """
    fetched = _Fetched(uri, settings)
    reader = Reader(mlflow.MlflowClient(tracking_uri=uri), fetched.artifact)
    routes = [
        Mount("/tutelage", app=explorer(reader, settings)),
        Route("/tutelage", to_the_page),
        Route("/{path:path}", fetched.page, methods=METHODS),
    ]
    guarded = [Middleware(Guard, settings=settings)] if settings.is_guarded else []
    hosts = ["*"] if settings.is_guarded else list(LOOPBACK)
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), *guarded])


class _Fetched:
    """What an MLflow server at another address answers."""

    def __init__(self, uri: str, settings: Settings) -> None:
        self._uri, self._settings, self._session = uri.rstrip("/"), settings, requests.Session()
        self._session.headers.clear()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one visitor's are not another's

    async def page(self, request: Request) -> Response:
        """Pass a request on, and its answer back, both piece by piece."""
        if rejection := _rejection(request):
            return rejection.answer(request.headers)
        try:
            answer = await run_in_threadpool(self._passed_on, request)
        except ClientDisconnect:  # the request stays unfinished at the other server too, and nobody reads an answer
            return Response(status_code=400)
        except requests.RequestException as error:
            return answers.out_of_reach(error).answer(request.headers)
        return _PassedBack(answer, self._uri)

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """Return a file of a run; None if it is not there."""
        credentials = os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        answer = requests.get(
            f"{self._uri}/get-artifact", {"run_uuid": run_id, "path": path}, timeout=TIMEOUT_S,
            auth=credentials if any(credentials) else None, headers={"Authorization": f"Bearer {token}"} if token else {},
            **_tls(),
        )  # fmt: skip
        return answer.content if answer.status_code == 200 else None

    def _passed_on(self, request: Request) -> requests.Response:
        return self._session.request(
            request.method, f"{self._uri}{self._address(request)}", data=_body(request), headers=self._headers(request.headers),
            stream=True, allow_redirects=False, timeout=TIMEOUT_S, **_tls(),
        )  # fmt: skip

    def _address(self, request: Request) -> str:
        """Return a request's path as it was sent, where %23 is no #, and its query without the token."""
        raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        parts = [one for one in request.url.query.split("&") if one and not self._is_token(one)]
        return raw.decode("latin-1") + (f"?{'&'.join(parts)}" if parts else "")

    def _is_token(self, part: str) -> bool:
        name, _, value = part.partition("=")
        return name == QUERY and self._settings.is_token(unquote_plus(value))

    def _headers(self, given: Headers) -> dict[str, str]:
        """Return a request's headers for the other server: without the token, and without an `Origin`.

        It is that of this site's own pages, which MLflow would refuse at any other name than localhost.
        """
        dropped = _of_one_connection(given) | _OF_THE_PROXY | ({"origin"} if is_own(given) else set())
        headers = {name: ", ".join(given.getlist(name)) for name in given if name not in dropped}
        if f"{QUERY}=" in headers.get("referer", ""):
            del headers["referer"]
        headers.pop("cookie", None)
        cookies = [one.strip() for line in given.getlist("cookie") for one in line.split(";")]
        kept = [one for one in cookies if one and not one.startswith(COOKIE)]
        return {**headers, **({"cookie": "; ".join(kept)} if kept else {})}


class _PassedBack(StreamingResponse):
    """Another server's answer, whose connection is given back at the end, or closed if the visitor has left before."""

    def __init__(self, answer: requests.Response, uri: str) -> None:
        super().__init__(answer.raw.stream(CHUNK_BYTES, decode_content=False), answer.status_code)  # compressed if it is
        self._answer = answer
        dropped = _of_one_connection(answer.headers)
        for name, value in answer.raw.headers.items():  # a header may stand twice, as Set-Cookie
            if name.lower() not in dropped:
                self.headers.append(name, _seen_from_here(name.lower(), value, uri))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.close()


class _Body(Iterable[bytes]):
    """A request's body for `requests`, in the thread that sends it: each piece is read from the visitor when it is sent."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        self.len = int(request.headers.get("content-length", 0))  # by which `requests` sends its length; 0 sends it in chunks

    def __iter__(self) -> Iterator[bytes]:
        while piece := anyio.from_thread.run(self._next):
            yield piece

    async def _next(self) -> bytes:
        """Return the next piece that is not empty; nothing at the end."""
        async for piece in self._stream:
            if piece:
                return piece
        return b""


def _rejection(request: Request) -> RequestFailed | None:
    """Return the error of a request that is not passed on.

    A path with dots would be shortened on its way, and could leave the address of MLflow for another service of its host.
    Another site's page that changes something is refused here, because MLflow refuses it since 3.5 only.
    """
    if any(part in (".", "..") for part in request.scope["path"].replace("\\", "/").split("/")):
        return RequestFailed(400, "There is no such page.", "Its path has a part of dots.", "Write the path without it.")
    if request.headers.get("origin") and request.method not in READING and not is_own(request.headers):
        return RequestFailed(
            403, "Nothing was changed.", "A page of another site asked for it.", "Use MLflow's page at this address."
        )
    return None


def _seen_from_here(name: str, value: str, uri: str) -> str:
    """Return the value of an answer's header for a visitor of this address: of a redirection within MLflow, and of a cookie."""
    if name == "location":
        with suppress(ValueError):  # it is no address: the visitor's browser will say so
            return _location(value, uri)
    if name == "set-cookie":
        return ";".join(part for part in value.split(";") if part.partition("=")[0].strip().lower() != "domain")
    return value


def _location(value: str, uri: str) -> str:
    """Return where a redirection leads, without the other server's name and the path of `uri` where it stays within them."""
    own, there = urlsplit(uri), urlsplit(value)
    if there.netloc not in ("", own.netloc.rpartition("@")[2]) or not f"{there.path}/".startswith(f"{own.path}/"):
        return value
    return urlunsplit(("", "", there.path.removeprefix(own.path) or "/", there.query, there.fragment))


def _body(request: Request) -> _Body | None:
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return _Body(request) if has_body else None


def _tls() -> dict[str, Any]:
    """Return how an https server is trusted: by the variables that MLflow's own client obeys."""
    variables: Any = (MLFLOW_TRACKING_INSECURE_TLS, MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_TRACKING_CLIENT_CERT_PATH)
    is_insecure, authority, own = (variable.get() for variable in variables)
    return {"verify": not is_insecure and (authority or True), "cert": own}


def _of_one_connection(headers: Mapping[str, str]) -> set[str]:
    """Return the names of headers that hold for one connection only."""
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    return _OF_ONE_CONNECTION | named
