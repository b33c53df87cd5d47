"""What is passed on to an MLflow elsewhere, and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.dashboard.asgi import request
from tutelage.dashboard.proxy import proxy
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
    request(app, "/", cookie="tutelage_token=abc; mine=1")
    assert [headers.get("cookie") for _, headers in seen] == [None, None, "mine=1"]


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
