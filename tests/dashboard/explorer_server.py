"""A server of the built explorer and of documents that a test holds in memory: the contract of `docs/dashboards.md` alone."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

STATIC = Path(__file__).parents[2] / "platform" / "tutelage" / "dashboard" / "static"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class ExplorerServer:
    """Serves `snapshots` by run id at `url`. `is_away` makes every API route reply with 503; `promoted` has what was posted."""

    def __init__(self, static: Path = STATIC) -> None:
        self.static = static
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.details: dict[str, dict[str, Any]] = {}
        self.promoted: list[dict[str, Any]] = []
        self.is_away = False
        self.can_promote = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/tutelage/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Return the status and the document of a GET of the API."""
        if self.is_away:
            return 503, _error("MLflow does not reply.")
        parts = [unquote(part) for part in path.split("/")]
        if parts == ["sweeps"]:
            return 200, [_line(run_id, one) for run_id, one in self.snapshots.items()]
        if parts == ["session"]:
            return 200, {"can_promote": self.can_promote, "mlflow": True, "version": "0"}
        if len(parts) > 2 and parts[1] not in self.snapshots:
            return 404, _error(f"There is no sweep {parts[1]}.")
        if parts[2:] == ["snapshot"]:
            return 200, _since(self.snapshots[parts[1]], query)
        return 200, self.details.get(parts[-1], {"curves": {}, "layers": [], "settings": {}, "lineage": [], "command": ""})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                name = address.path.removeprefix("/tutelage/")
                if name.startswith("api/"):
                    status, document = outer.reply(name.removeprefix("api/"), parse_qs(address.query))
                    self._send(status, json.dumps(document).encode(), "application/json")
                    return
                file = outer.static / (name or "index.html")
                if file.is_file():
                    self._send(200, file.read_bytes(), TYPES.get(file.suffix, "text/plain"))
                else:
                    self._send(404, b"", "text/plain")

            def do_POST(self) -> None:
                posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.promoted.append({**posted, "token": self.headers["X-Tutelage-Token"]})
                run_id = unquote(urlsplit(self.path).path.split("/")[-2])
                document = outer.snapshots[run_id]
                outer.snapshots[run_id] = {**document, "is_champion": document["id"].index(posted["id"])}
                done = {"model": posted["model"], "version": "1", "promoted": True, "why": ""}
                self._send(200, json.dumps(done).encode(), "application/json")

            def log_message(self, format: str, *args: object) -> None:
                pass

            def _send(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _line(run_id: str, document: dict[str, Any]) -> dict[str, Any]:
    sweep = document["sweep"]
    return {"name": sweep["name"], "run_id": run_id, "state": sweep["state"], "n": document["n"]}


def _error(what: str) -> dict[str, Any]:
    return {"error": {"what": what, "why": "It is away.", "way_out": "Wait."}}


def _since(document: dict[str, Any], query: dict[str, list[str]]) -> dict[str, Any]:
    """Return the rows from `since`, as the real server does; the whole document for another revision."""
    since = int(query.get("since", ["0"])[0])
    if not since or query["revision"] != [str(document.get("revision", ""))]:
        return document

    def cut(value: Any) -> Any:
        return value[since:] if isinstance(value, list) else {key: cut(one) for key, one in value.items()}

    rows = (
        "id",
        "trial",
        "candidate",
        "parent",
        "run_id",
        "state",
        "finished_at",
        "provenance",
        "values",
        "last",
        "low",
        "high",
        "mean",
        "seeds",
    )
    shown = {key: cut(value) if key in rows else value for key, value in document.items()}
    shown["config"] = {key: {**one, "values": one["values"][since:]} for key, one in document.get("config", {}).items()}
    return {**shown, "since": since}
