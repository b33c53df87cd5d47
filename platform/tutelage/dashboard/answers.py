"""The errors of the explorer's requests: an HTTP status, and what, why and the way out, for people."""

from __future__ import annotations

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


def no_sweep(run_id: str, why: str) -> RequestFailed:
    """Return the error for a run that MLflow does not have, or no longer."""
    way_out = "Choose another sweep. A deleted run is restored by `mlflow runs restore --run-id ID`."
    return RequestFailed(404, f"There is no sweep of the run {run_id}.", why, way_out)


def out_of_reach(error: Exception) -> RequestFailed:
    """Return the error for an MLflow that does not answer."""
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RequestFailed(503, "MLflow is out of reach.", why, "The page tries again by itself; start MLflow, or wait.")
