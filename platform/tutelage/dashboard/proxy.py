"""The explorer before an MLflow that runs elsewhere: its pages are fetched from there, so that both are on one address."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import quote, unquote_plus

import mlflow
import requests
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from tutelage.dashboard import answers
from tutelage.dashboard.guard import COOKIE, HEADER, LOOPBACK, QUERY, Guard, is_own
from tutelage.dashboard.pages import explorer, to_the_page
from tutelage.dashboard.reader import Reader
from tutelage.dashboard.settings import Settings

TIMEOUT_S = 60.0
CHUNK_BYTES = 65_536
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_OF_ONE_CONNECTION = {  # headers that are not passed on
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    "host", "content-length", HEADER,
}  # fmt: skip


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
        """Pass a request on, and its answer back, piece by piece."""
        body = await request.body()
        try:
            answer = await run_in_threadpool(self._passed_on, request, body)
        except requests.RequestException as error:
            return JSONResponse(answers.out_of_reach(error).document(), 503)
        response = StreamingResponse(_pieces(answer), answer.status_code)
        for name, value in answer.raw.headers.items():  # a header may stand twice, as Set-Cookie
            if name.lower() == "content-length" or name.lower() not in _OF_ONE_CONNECTION:
                response.headers.append(name, value)
        return response

    def artifact(self, run_id: str, path: str) -> bytes | None:
        """Return a file of a run; None if it is not there."""
        credentials = os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        answer = requests.get(
            f"{self._uri}/get-artifact", {"run_uuid": run_id, "path": path}, timeout=TIMEOUT_S,
            auth=credentials if any(credentials) else None, headers={"Authorization": f"Bearer {token}"} if token else {},
        )  # fmt: skip
        return answer.content if answer.status_code == 200 else None

    def _passed_on(self, request: Request, body: bytes) -> requests.Response:
        return self._session.request(
            request.method, f"{self._uri}{self._address(request)}", data=body, headers=self._headers(request.headers),
            stream=True, allow_redirects=False, timeout=TIMEOUT_S,
        )  # fmt: skip

    def _address(self, request: Request) -> str:
        """Return a request's path as it was sent, where %23 is no #, and its query without the token."""
        raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        parts = [one for one in request.url.query.split("&") if one and not self._is_token(one)]
        return raw.decode("latin-1") + (f"?{'&'.join(parts)}" if parts else "")

    def _is_token(self, part: str) -> bool:
        name, _, value = part.partition("=")
        return name == QUERY and self._settings.is_token(unquote_plus(value))

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return a request's headers for the other server: without the token, and as from that server's own pages.

        An `Origin` of a third site is left, so that MLflow refuses it.
        """
        headers = {key: value for key, value in given.items() if key.lower() not in _OF_ONE_CONNECTION}
        if is_own(headers.get("origin", ""), given.get("host", "")):
            headers["origin"] = self._uri
        if f"{QUERY}=" in headers.get("referer", ""):
            del headers["referer"]
        kept = [one for one in headers.pop("cookie", "").split("; ") if one and not one.startswith(f"{COOKIE}=")]
        return {**headers, **({"cookie": "; ".join(kept)} if kept else {})}


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """Give an answer's body as it came, compressed if it is."""
    with answer:
        yield from answer.raw.stream(CHUNK_BYTES, decode_content=False)
