"""The errors of the explorer's requests: an HTTP status, and what, why and the way out, for people."""

from __future__ import annotations

import html

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response

from tutelage.errors import first_line
from tutelage.redaction import redact


class RequestFailed(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, what: str, why: str, way_out: str) -> None:
        super().__init__(what)
        self.status = status
        self._said = {"what": what, "why": redact(why), "way_out": way_out}

    def document(self) -> dict[str, dict[str, str]]:
        """Return the error as JSON values."""
        return {"error": self._said}

    def answer(self, headers: Headers) -> Response:
        """Return the answer to a request with these headers: a page for a browser's address bar, else JSON."""
        if "text/html" not in headers.get("accept", ""):
            return JSONResponse(self.document(), self.status)
        what, why, way_out = (html.escape(self._said[part]) for part in ("what", "why", "way_out"))
        page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{what}</title><h1>{what}</h1><p>{why}<p>{way_out}"
        return HTMLResponse(page, self.status, {"Content-Security-Policy": "default-src 'none'"})


def no_sweep(run_id: str, why: str) -> RequestFailed:
    """Return the error for a run that MLflow does not have, or no longer."""
    way_out = "Choose another sweep. A deleted run is restored by `mlflow runs restore --run-id ID`."
    return RequestFailed(404, f"There is no sweep of the run {run_id}.", why, way_out)


def out_of_reach(error: Exception) -> RequestFailed:
    """Return the error for an MLflow that does not answer."""
    way_out = "The page tries again by itself; start MLflow, or wait."
    return RequestFailed(503, "MLflow is out of reach.", first_line(error), way_out)
