"""The token of an address that others can reach."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.dashboard.asgi import request
from tutelage.dashboard import serving
from tutelage.dashboard.guard import Guard
from tutelage.dashboard.proxy import proxy
from tutelage.dashboard.settings import TOKEN, Settings
from tutelage.errors import InputError


@pytest.fixture
def guarded() -> Any:
    inner = Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse("inside"), methods=["GET", "POST"])])
    return Guard(inner, Settings(token="abc", is_guarded=True))


@pytest.mark.parametrize(
    "url", ["/", "/tutelage/", "/tutelage/api/sweeps", "/api/2.0/mlflow/runs/search", "/static-files/x.js"]
)
def test_without_the_token_every_page_is_an_error(guarded: Any, url: str) -> None:
    for given in ({}, {"x_tutelage_token": "abcd"}, {"cookie": "tutelage_token_5080=ab"}, {"cookie": "=;;tutelage_token"}):
        answer = request(guarded, url, **given)
        assert (answer.status, answer.json()["error"]["what"]) == (401, "This needs the token.")
    assert [request(guarded, f"{url}?token={given}").status for given in ("", "abd", "abcd")] == [401, 401, 401]


def test_a_browser_without_the_token_shows_a_page(guarded: Any) -> None:
    answer = request(guarded, "/", accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "<h1>This needs the token.</h1>" in answer.body.decode() and "?token=…" in answer.body.decode()


def test_the_address_with_the_token_sets_a_cookie_that_forms_and_scripts_of_other_sites_cannot_send(guarded: Any) -> None:
    first = request(guarded, "/tutelage/?token=abc")
    assert first.body == b"inside"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert request(guarded, "/", cookie=f"other=1; {cookie.partition(';')[0]}").body == b"inside"
    assert request(guarded, "/", "POST", x_tutelage_token="abc").body == b"inside"


def test_two_dashboards_on_one_host_have_cookies_of_their_own(guarded: Any) -> None:
    hosts = ("gpu-box:5080", "gpu-box:5081", "gpu-box", "[::1]:5080", "[::1]", "gpu-box:²")
    names = [request(guarded, "/?token=abc", host=host).headers["set-cookie"].partition("=")[0] for host in hosts]
    plain, first, second = "tutelage_token", "tutelage_token_5080", "tutelage_token_5081"
    assert names == [first, second, plain, first, plain, plain]
    own = {"host": "gpu-box:5080", "cookie": f"{second}=another; {first}=abc"}
    assert request(guarded, "/", **own).body == b"inside"
    assert request(guarded, "/", **{**own, "host": "gpu-box:5081"}).status == 401


@pytest.mark.parametrize("other", ['prefs={"a": 1}', "a[b]=c", "flag", "user@mail=1", "text=1 2 3", "tutelage_token_50=x", ""])
def test_a_cookie_of_another_program_on_the_host_does_not_hide_the_token(guarded: Any, other: str) -> None:
    for cookies in (f"{other}; tutelage_token_5080=abc", f"tutelage_token_5080=abc; {other}"):
        assert request(guarded, "/", cookie=cookies).body == b"inside"
    assert request(guarded, "/", cookie=f"{other}; tutelage_token_5080=ab").status == 401


@pytest.mark.parametrize("token", ["two words", "a;b", "a,b", 'a"b', "a\\b", "tök", "a\nb"])
def test_a_token_that_no_cookie_can_hold_is_an_error(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(InputError, match=r"TUTELAGE_DASHBOARD_TOKEN has a character.*openssl rand") as caught:
        serving.settings_for("0.0.0.0", "", promote=False)
    assert token not in str(caught.value)
    with pytest.raises(InputError):
        Settings.from_environment({TOKEN: token})


@pytest.mark.parametrize("token", ["a+/=b", "a&b%23#?", "-._~"])
def test_a_token_of_other_signs_opens_every_page(token: str) -> None:
    inner = Starlette(routes=[Route("/", lambda request: PlainTextResponse("inside"))])
    guarded, query = Guard(inner, Settings(token=token, is_guarded=True)), urlencode({"token": token})
    cookie = request(guarded, f"/?{query}").headers["set-cookie"].partition(";")[0]
    assert request(guarded, "/", cookie=cookie).body == b"inside"


def test_the_sites_own_pages_have_no_origin_and_others_keep_theirs() -> None:
    inner = Starlette(routes=[Route("/", lambda request: PlainTextResponse(request.headers.get("origin", "none")))])
    app = Guard(inner, Settings(token="abc", is_guarded=True))
    origins = ("http://gpu-box:5080", "http://gpu-box:9999", "http://[", "null")
    found = [request(app, "/", host="gpu-box:5080", x_tutelage_token="abc", origin=one).body.decode() for one in origins]
    assert found == ["none", *origins[1:]]


REACHED_BY_NAME = """
import sys
import uvicorn  # before the application, as `serve` does: with it MLflow reads the allowed hosts when it is imported
from tests.dashboard.asgi import request
from tutelage.dashboard import serving
from tutelage.dashboard.settings import Settings

app = serving.application(serving.Address(uri=sys.argv[1]), Settings(token="abc", is_guarded=True))
own = {"host": "gpu-box:5080", "x_tutelage_token": "abc", "origin": "http://gpu-box:5080"}
search = ("/api/2.0/mlflow/experiments/search", "POST", {"max_results": 1})
print(
    request(app, "/tutelage/api/session", **own).status,
    request(app, *search, **own, content_type="application/json").status,
    request(app, *search, **{**own, "origin": "http://gpu-box:9999"}).status,
)
"""


@pytest.mark.slow
def test_mlflow_and_the_explorer_are_reached_by_the_machines_name(tmp_path: Path) -> None:
    """In a process of its own, because MLflow reads its settings once in each."""
    environment = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    command = [sys.executable, "-c", REACHED_BY_NAME, f"sqlite:///{tmp_path / 'mlflow.db'}"]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["200", "200", "403"], done.stderr


def test_a_watcher_needs_no_token(guarded: Any) -> None:
    assert request(guarded, "/health").body == b"inside"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.7", False), ("127.0.0.2", False),
        ("example.org", False),
    ],
)  # fmt: skip
def test_only_this_machines_own_address_needs_no_token(host: str, expected: bool) -> None:
    """Without a token a request must name one of these hosts, so an address of another name would open no page."""
    assert serving.is_loopback(host) is expected
    settings = serving.settings_for(host, "", promote=False)
    assert (settings.is_guarded, bool(settings.token)) == (not expected, not expected)


def test_a_promotion_needs_a_token_on_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = serving.settings_for("127.0.0.1", "store", promote=True)
    assert (settings.is_guarded, settings.can_promote, len(settings.token) >= 32) == (False, True, True)
    assert settings.token != serving.settings_for("127.0.0.1", "store", promote=True).token
    monkeypatch.setenv(TOKEN, "mine")
    assert serving.settings_for("0.0.0.0", "", promote=False).token == "mine"


FREE, REFUSED, ALLOWED = (200, 200), (401, 200), 400  # of reading without and with the token; of a promotion's empty body


@pytest.mark.parametrize(
    ("settings", "reading", "promoting"),
    [
        (lambda: serving.settings_for("127.0.0.1", "store", promote=False), FREE, (403, 403)),
        (lambda: serving.settings_for("127.0.0.1", "store", promote=True), FREE, (401, ALLOWED)),
        (lambda: serving.settings_for("0.0.0.0", "store", promote=False), REFUSED, (401, 403)),
        (lambda: serving.settings_for("0.0.0.0", "store", promote=True), REFUSED, (401, ALLOWED)),
        (lambda: Settings.from_environment({}), FREE, (403, 403)),
        (lambda: Settings.from_environment({TOKEN: "abc"}), REFUSED, (401, 403)),
    ],
    ids=["own", "own, promote", "other", "other, promote", "mlflow server", "mlflow server, token"],
)
def test_who_may_read_and_who_may_promote(
    settings: Callable[[], Settings], reading: tuple[int, int], promoting: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of the table in docs/dashboards.md: the explorer, and behind the proxy the pages of an MLflow that is away."""
    monkeypatch.setenv(TOKEN, "abc")
    app = proxy("http://127.0.0.1:9", settings())
    given: tuple[dict[str, str], ...] = ({}, {"x_tutelage_token": "abc"})
    assert tuple(request(app, "/tutelage/api/session", **one).status for one in given) == reading
    of_mlflow = tuple(503 if status == 200 else status for status in reading)
    assert tuple(request(app, "/", **one).status for one in given) == of_mlflow
    url = "/tutelage/api/sweeps/run/promote"
    assert tuple(request(app, url, "POST", {}, **one).status for one in given) == promoting
    cookie = {"cookie": "tutelage_token_5080=abc"}
    assert request(app, "/tutelage/api/session", **cookie).status == 200
    assert request(app, url, "POST", {}, **cookie).status in (401, 403), "another site's form sends cookies"


def test_mlflows_own_server_is_guarded_by_the_token_of_its_environment() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({TOKEN: "abc"}) == Settings(token="abc", is_guarded=True)


def test_without_a_token_nothing_is_the_token() -> None:
    assert not Settings().is_token("")
    assert not Settings().is_token(None)
    assert not Settings(token="abc").is_token("äbc")


def test_a_port_that_is_taken_is_an_error() -> None:
    with serving.listening("127.0.0.1", 0) as taken, pytest.raises(InputError, match="another --port"):
        serving.listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match="--host"):
        serving.listening("256.1.1.1", 0)
    with pytest.raises(InputError, match="--host"):
        serving.listening(f"{'a' * 64}.example", 0)
