"""What is passed on to an MLflow elsewhere, and back."""

from __future__ import annotations

import asyncio
import http.client
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from tests.dashboard.asgi import request
from tutelage.dashboard.proxy import _Fetched, _seen_from_here, proxy
from tutelage.dashboard.serving import listening
from tutelage.dashboard.settings import Settings

Seen = list[tuple[str, dict[str, str]]]


@pytest.fixture
def elsewhere() -> Iterator[tuple[Any, Seen]]:
    """Give a guarded proxy, and the paths and headers of the requests that the server behind it has received."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(200)
            self.send_header("Set-Cookie", "session=first; Path=/")
            self.send_header("Set-Cookie", "csrf=second; Path=/")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy(f"http://127.0.0.1:{server.server_port}", Settings(token="abc", is_guarded=True)), seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_cookies_of_one_visitor_are_not_sent_for_another(elsewhere: tuple[Any, Seen]) -> None:
    app, seen = elsewhere
    for _ in range(2):
        request(app, "/", x_tutelage_token="abc")
    request(app, "/", cookie="tutelage_token_5080=abc; tutelage_token_5081=another; mine=1")
    assert [headers.get("cookie") for _, headers in seen] == [None, None, "mine=1"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", "ca.pem", {"verify": "ca.pem", "cert": None}),
        ("MLFLOW_TRACKING_INSECURE_TLS", "true", {"verify": False, "cert": None}),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "own.pem", {"verify": True, "cert": "own.pem"}),
    ],
)
def test_an_https_server_is_trusted_as_mlflows_client_trusts_it(
    name: str, value: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def record(self: requests.Session, *_: Any, **options: Any) -> Any:
        asked.append({key: options[key] for key in ("verify", "cert")})
        raise requests.ConnectionError

    monkeypatch.setenv(name, value)
    monkeypatch.setattr(requests.Session, "request", record)
    fetched = _Fetched("https://mlflow.example.org", Settings())
    with pytest.raises(requests.ConnectionError):
        fetched.artifact("run", "snapshot")
    assert request(Starlette(routes=[Route("/", fetched.page)]), "/").status == 503
    assert asked == [expected, expected]


def test_every_cookie_of_an_answer_comes_back(elsewhere: tuple[Any, Seen]) -> None:
    answer = request(elsewhere[0], "/", x_tutelage_token="abc")
    assert answer.body == b"ok"
    assert answer.cookies == ["session=first; Path=/", "csrf=second; Path=/"]


def test_the_token_stays_at_the_proxy(elsewhere: tuple[Any, Seen]) -> None:
    app, seen = elsewhere
    request(app, "/page?a=1&token=abc&b=%20", referer="http://127.0.0.1:5080/?token=abc")
    request(app, "/page?token=of-mlflow", x_tutelage_token="abc")
    assert [path for path, _ in seen] == ["/page?a=1&b=%20", "/page?token=of-mlflow"]
    assert not any("abc" in value for _, headers in seen for value in headers.values())


def test_a_browser_before_an_mlflow_that_is_away_shows_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("<b>refused</b>")

    monkeypatch.setattr(requests.Session, "request", away)
    app = proxy("http://mlflow.example", Settings())
    answer = request(app, "/", accept="text/html")
    assert (answer.status, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "<p>&lt;b&gt;refused&lt;/b&gt;<p>" in answer.body.decode()
    assert request(app, "/", accept="*/*").json()["error"]["what"] == "MLflow is out of reach."


def test_the_explorers_address_without_a_slash_keeps_the_token(elsewhere: tuple[Any, Seen]) -> None:
    assert request(elsewhere[0], "/tutelage?token=abc").headers["location"] == "/tutelage/?token=abc"


def test_a_path_is_passed_on_as_it_was_sent(elsewhere: tuple[Any, Seen]) -> None:
    app, seen = elsewhere
    request(app, "/artifacts/a%23b%3Fc%2Fd", x_tutelage_token="abc")
    assert [path for path, _ in seen] == ["/artifacts/a%23b%3Fc%2Fd"]


@pytest.mark.parametrize("path", ["/%2e%2e/admin", "/../admin", "/a/./b", "/a/..%2Fadmin", "/a%5C..%5Cadmin"])
def test_no_path_leaves_the_address_of_mlflow(elsewhere: tuple[Any, Seen], path: str) -> None:
    app, seen = elsewhere
    assert request(app, path, x_tutelage_token="abc").status == 400
    request(app, "/a..b/...", x_tutelage_token="abc")
    assert [path for path, _ in seen] == ["/a..b/..."]


@pytest.mark.parametrize(
    ("method", "origin", "status"),
    [
        ("POST", "http://127.0.0.1:5080", 200),
        ("POST", "http://evil.example", 403),
        ("POST", "http://127.0.0.1:9999", 403),
        ("POST", "null", 403),
        ("GET", "http://evil.example", 200),
    ],
)
def test_only_the_pages_of_this_address_change_something(
    elsewhere: tuple[Any, Seen], method: str, origin: str, status: int
) -> None:
    """MLflow refuses each `Origin` beside localhost: at any other name it would refuse this address's own pages."""
    app, seen = elsewhere
    answer = request(app, "/api/2.0/mlflow/runs/delete", method, b"{}", origin=origin, x_tutelage_token="abc")
    assert answer.status == status
    passed_on = [None if method == "POST" else origin] if status == 200 else []
    assert [headers.get("origin") for _, headers in seen] == passed_on


@pytest.mark.parametrize(
    ("uri", "given", "expected"),
    [
        ("http://mlflow.example:5000", "http://mlflow.example:5000/a/?b=1#c", "/a/?b=1#c"),
        ("https://user:word@mlflow.example", "http://mlflow.example", "/"),
        ("http://mlflow.example/base", "http://mlflow.example/base/a", "/a"),
        ("http://mlflow.example/base", "/base/a", "/a"),
        ("http://mlflow.example/base", "http://mlflow.example/based", "http://mlflow.example/based"),
        ("http://mlflow.example", "https://login.example/?back=1", "https://login.example/?back=1"),
        ("http://mlflow.example", "login", "login"),
        ("http://mlflow.example", "http://[", "http://["),
    ],
)
def test_a_redirection_within_mlflow_stays_at_this_address(uri: str, given: str, expected: str) -> None:
    assert _seen_from_here("location", given, uri) == expected


def test_a_cookie_for_mlflows_host_is_one_for_this_host() -> None:
    given = "session=a=b; Domain=mlflow.example; Path=/; HttpOnly"
    assert _seen_from_here("set-cookie", given, "http://mlflow.example") == "session=a=b; Path=/; HttpOnly"
    assert _seen_from_here("x-other", given, "http://mlflow.example") == given


HALF = b"x" * 100_000
WAIT_S = 60.0


class Passing:
    """A proxy in a real server, and the server behind it, which tells of the bodies that it receives piece by piece."""

    def __init__(self) -> None:
        self.pieces: queue.Queue[bytes] = queue.Queue()  # b"" at a body's end
        self.headers: dict[str, str] = {}
        self.has_left = threading.Event()  # the visitor, in the middle of an answer
        self._behind = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._threads = [threading.Thread(target=self._behind.serve_forever, kwargs={"poll_interval": 0.01})]
        app = proxy(f"http://127.0.0.1:{self._behind.server_port}", Settings())
        self._server, listener = uvicorn.Server(uvicorn.Config(app, log_level="error")), listening("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._server.serve([listener]))))
        for thread in self._threads:
            thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                outer.headers = {name.lower(): value for name, value in self.headers.items()}
                left = int(self.headers.get("Content-Length", "-1"))
                while left and (piece := self._piece(left)):
                    outer.pieces.put(piece)
                    left = left - len(piece) if left > 0 else left
                outer.pieces.put(b"")
                self.send_response(201)
                for name, value in (("Content-Length", "0"), ("Connection", "X-Own"), ("X-Own", "1"), ("X-Other", "2")):
                    self.send_header(name, value)
                self.end_headers()

            def _piece(self, left: int) -> bytes:
                if left > 0:
                    return self.rfile.read1(left)  # type: ignore[attr-defined, no-any-return]
                piece = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return piece

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(10**12))
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(HALF)
                except OSError:
                    outer.has_left.set()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def received(self, most: int) -> bytes:
        """Return the next bytes that the server behind receives, up to `most` or the end of the body."""
        found = b""
        while len(found) < most and (piece := self.pieces.get(timeout=WAIT_S)):
            found += piece
        return found

    def stop(self) -> None:
        self._server.should_exit = True
        self._behind.shutdown()
        self._behind.server_close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def passing() -> Iterator[Passing]:
    found = Passing()
    yield found
    found.stop()


@contextmanager
def begun(port: int, *headers: tuple[str, str]) -> Iterator[http.client.HTTPConnection]:
    """Give a connection on which an upload has begun, without its body."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)) as connection:
        connection.putrequest("PUT", "/artifacts/big")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        yield connection


def test_an_upload_is_passed_on_while_it_comes(passing: Passing) -> None:
    own = (("Content-Length", str(2 * len(HALF))), ("Connection", "X-Mine"), ("X-Mine", "1"))
    with begun(passing.port, *own) as connection:
        for _ in range(2):
            connection.send(HALF)
            assert passing.received(len(HALF)) == HALF
        answer = connection.getresponse()
        assert (answer.status, answer.headers["x-own"], answer.headers["x-other"]) == (201, None, "2")
    assert passing.headers["content-length"] == str(2 * len(HALF))
    assert "x-mine" not in passing.headers and "transfer-encoding" not in passing.headers


def test_an_upload_in_chunks_is_passed_on_in_chunks(passing: Passing) -> None:
    with begun(passing.port, ("Transfer-Encoding", "chunked")) as connection:
        for _ in range(2):
            connection.send(b"%x\r\n%s\r\n" % (len(HALF), HALF))
            assert passing.received(len(HALF)) == HALF
        connection.send(b"0\r\n\r\n")
        assert connection.getresponse().status == 201
    assert passing.headers["transfer-encoding"] == "chunked" and "content-length" not in passing.headers


def test_who_waits_for_continue_is_told_to(passing: Passing) -> None:
    with socket.create_connection(("127.0.0.1", passing.port), timeout=WAIT_S) as visitor:
        visitor.sendall(b"PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert visitor.recv(100).startswith(b"HTTP/1.1 100")
        visitor.sendall(b"ok")
        assert visitor.recv(1000).startswith(b"HTTP/1.1 201")
    assert passing.received(10) == b"ok"
    assert "expect" not in passing.headers


def test_an_upload_that_its_visitor_leaves_ends_at_the_other_server_too(passing: Passing) -> None:
    with begun(passing.port, ("Content-Length", str(2 * len(HALF)))) as connection:
        connection.send(HALF)
        assert passing.received(len(HALF)) == HALF
    assert passing.pieces.get(timeout=WAIT_S) == b"", "the server behind sees that the body is cut short"
    with begun(passing.port, ("Content-Length", "0")) as connection:
        assert connection.getresponse().status == 201


def test_an_answer_that_its_visitor_leaves_is_fetched_no_further(passing: Passing) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", passing.port, timeout=WAIT_S)) as connection:
        connection.request("GET", "/artifacts/endless")
        with connection.getresponse() as answer:
            assert answer.read(10) == b"x" * 10
    assert passing.has_left.wait(WAIT_S)
