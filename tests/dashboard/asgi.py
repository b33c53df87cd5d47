"""Requests to an ASGI application in this process, without a server."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.types import Message, Scope


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str]

    def json(self) -> Any:
        return json.loads(gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body)


def request(app: Any, url: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    """Return an application's answer; `headers` are written with underscores, `body` is sent as JSON unless it is bytes."""
    parts, sent = urlsplit(url), body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    length = {"content-length": str(len(sent))} if sent else {}
    given = {"host": "127.0.0.1:5080", **length, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": unquote(parts.path),
        "raw_path": parts.path.encode(), "query_string": parts.query.encode(), "root_path": "", "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "server": ("127.0.0.1", 5080), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    messages: list[Message] = []

    async def run() -> None:
        waiting = [{"type": "http.request", "body": sent, "more_body": False}]

        async def receive() -> Message:
            return waiting.pop() if waiting else await asyncio.Event().wait() or {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            messages.append(message)

        await app(scope, receive, send)

    asyncio.run(run())
    start = next(one for one in messages if one["type"] == "http.response.start")
    answered = b"".join(one.get("body", b"") for one in messages if one["type"] == "http.response.body")
    pairs = [(name.decode(), value.decode()) for name, value in start["headers"]]
    return Answer(start["status"], dict(pairs), answered, [value for name, value in pairs if name.lower() == "set-cookie"])
