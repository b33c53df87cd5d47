"""The guard of an address that others can reach: without the token every page of it, MLflow's too, is an error."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tutelage.dashboard.answers import RequestFailed
from tutelage.dashboard.settings import Settings

HEADER, QUERY = "x-tutelage-token", "token"
COOKIE = "tutelage_token"  # begins the name, which ends in the port: a browser sends a host's cookies to all of its ports
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")  # hosts of addresses without a token
OPEN = ("/health", "/version")  # of MLflow, for what watches the server


class Guard:
    """An ASGI application that lets a request through to another with the token: in the address, a header or a cookie.

    An address with the token sets the cookie. Only this site's own pages send it, and links to them, so that a copied address
    opens from a chat (`SameSite=Lax`); forms and scripts of other sites do not. A request of one of the own pages comes without
    its `Origin`: MLflow refuses those of pages at other names than localhost.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        in_address = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(QUERY, [""])[0]
        name = _cookie_name(headers)
        if self._settings.is_token(in_address):
            await self._app(_without_own_origin(scope), receive, _with_cookie(send, name, self._settings.token))
        elif self._settings.is_token(headers.get(HEADER)) or self._settings.is_token(_cookie(headers, name)):
            await self._app(_without_own_origin(scope), receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await no_token().answer(headers)(scope, receive, send)


def no_token() -> RequestFailed:
    """Return the error of a request without the token."""
    way_out = "Open the address that `tutelage dashboard` has printed; it ends in ?token=…"
    return RequestFailed(401, "This needs the token.", "The request has none, or a wrong one.", way_out)


def is_own(headers: Headers) -> bool:
    """Return whether the `Origin` of a request is the site that its `Host` names."""
    host = headers.get("host", "")
    return bool(host) and headers.get("origin", "").partition("://")[2] == host


def _without_own_origin(scope: Scope) -> Scope:
    if not is_own(Headers(scope=scope)):
        return scope
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"origin"]}


def _cookie_name(headers: Headers) -> str:
    """Return the name of the cookie for the port that the browser sees."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isascii() and port.isdecimal() else COOKIE


def _cookie(headers: Headers, name: str) -> str:
    """Return a cookie, "" without. Those of other programs on the host beside it may have forms that `SimpleCookie` rejects."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(name, "")


def _with_cookie(send: Send, name: str, token: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", f"{name}={token}; Path=/; HttpOnly; SameSite=Lax")
        await send(message)

    return sending
