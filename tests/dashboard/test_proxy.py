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
from tutelage.dashboard.proxy import _Fetched, proxy
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


def test_the_explorers_address_without_a_slash_keeps_the_token(elsewhere: tuple[Any, Seen]) -> None:
    assert request(elsewhere[0], "/tutelage?token=abc").headers["location"] == "/tutelage/?token=abc"


def test_a_path_is_passed_on_as_it_was_sent(elsewhere: tuple[Any, Seen]) -> None:
    app, seen = elsewhere
    request(app, "/artifacts/a%23b%3Fc%2Fd", x_tutelage_token="abc")
    assert [path for path, _ in seen] == ["/artifacts/a%23b%3Fc%2Fd"]


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
