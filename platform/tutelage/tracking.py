"""A sweep in MLflow: a parent run, a child run a trial, the teacher beside them. One writer, in the background.

Every call but the opening ones only queues its work; one thread writes in order. What fails is raised by `close`.
"""

from __future__ import annotations

import logging
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from tutelage import compare_view
from tutelage.errors import UnreachableError
from tutelage.record import TrialRecord
from tutelage.spec_yaml import dump

logger = logging.getLogger(__name__)
METRICS = {  # a measure's name in MLflow; MLflow draws a section per prefix
    "accuracy": "quality/accuracy",
    "agreement": "quality/agreement",
    "teacher_kl_nats": "quality/teacher_kl_nats",
    "params": "size/params",
    "nonzero_params": "size/nonzero_params",
    "size_bytes": "size/bytes",
    "macs": "cost/macs",
    "latency_ms": "cost/latency_ms",
    "latency_p90_ms": "cost/latency_p90_ms",
}
INACTIVE = "none"  # of a searched param that a trial's branch does not have; MLflow's charts drop runs that lack a param
PROBE_TIMEOUT_S = 10.0
SQLITE = "sqlite:///"
Work = Callable[[], object]


def redact(uri: str) -> str:
    """Return a URI without the user and password that it may hold."""
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", uri)


class Tracker:
    """The one writer of a sweep. Opening it makes the store and the experiment ready, before any worker starts.

    Raises `UnreachableError` when the store does not answer, refuses, or is a directory that MLflow no longer writes.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self._client = _open_client(uri)
        try:
            self._experiment_id = self._ready_experiment()
        except (MlflowException, OSError) as error:
            raise UnreachableError(_out_of_reach(uri, error)) from None
        self._parent = self._sweep = ""
        self._runs: dict[str, str] = {}
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._write, name="tutelage-tracker", daemon=True)
        self._thread.start()

    def _ready_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": "quality/accuracy",
            "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
        }
        location = None
        if self.uri.startswith(SQLITE):  # MLflow's own default is a directory below wherever one happens to stand
            location = (Path(self.uri.removeprefix(SQLITE)).parent / "artifacts").resolve().as_uri()
        return str(self._client.create_experiment(self.experiment, artifact_location=location, tags=tags))

    def _write(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception as error:  # kept, and raised by close: the sweep must not fall over its log
                self._errors.append(error)

    def flush(self) -> None:
        """Wait until everything queued so far is written."""
        done = threading.Event()
        self._queue.put(done.set)
        done.wait()

    def close(self) -> None:
        """Write what is queued, and raise `UnreachableError` with the first error that the writer met."""
        self._queue.put(None)
        self._thread.join()
        if self._errors:
            errors, self._errors = self._errors, []
            raise UnreachableError(f"{len(errors)} writes to MLflow failed; the first: {_out_of_reach(self.uri, errors[0])}")

    def start_sweep(self, name: str, spec: Mapping[str, Any], searched: Sequence[str], tags: Mapping[str, str]) -> str:
        """Create the parent run with the resolved spec, and return its id."""
        run = self._client.create_run(
            self._experiment_id, run_name=name, tags={"sweep": name, "stage": "sweep", "searched": ", ".join(searched)}
        )
        self._parent = str(run.info.run_id)
        self._client.log_batch(self._parent, params=[Param(key, str(value)) for key, value in tags.items()])
        self._client.log_text(self._parent, dump(dict(spec)), "spec.yaml")
        self._sweep = name
        return self._parent

    def reopen(self, run_id: str) -> None:
        """Go on writing to a sweep's parent run."""
        self._parent = run_id

    def log_dataset(self, run_id: str, name: str, fingerprint: str, num_examples: Mapping[str, int]) -> None:
        """Attach one data set a split to the sweep, all under the data's fingerprint (SHA-256)."""

        def work() -> None:
            inputs = [
                DatasetInput(
                    mlflow.entities.Dataset(
                        name=f"{name}-{split}",
                        digest=fingerprint[:32],
                        source_type="local",
                        source=name,
                        profile=f'{{"num_examples": {n}}}',
                    ),
                    [InputTag("mlflow.data.context", split)],
                )
                for split, n in num_examples.items()
            ]
            self._client.log_inputs(run_id, inputs)

        self._queue.put(work)

    def log_teacher(
        self, name: str, address: str, params: Mapping[str, Any], measures: Mapping[str, float],
        curve: Sequence[Mapping[str, float]],
    ) -> None:  # fmt: skip
        """Log the teacher as a run of its own, once for its content address, and link it from the sweep."""

        def work() -> None:
            found = self._client.search_runs([self._experiment_id], f"tags.teacher_address = '{address}'", max_results=1)
            run_id = found[0].info.run_id if found else self._new_teacher(name, address, params, measures, curve)
            self._client.set_tag(self._parent, "teacher_run_id", run_id)

        self._queue.put(work)

    def _new_teacher(
        self, name: str, address: str, params: Mapping[str, Any], measures: Mapping[str, float],
        curve: Sequence[Mapping[str, float]],
    ) -> str:  # fmt: skip
        run = self._client.create_run(
            self._experiment_id,
            run_name=name,
            tags={"stage": "teacher", "teacher_address": address, "pareto": "teacher"},
        )
        run_id = str(run.info.run_id)
        shown = [Param(f"teacher.{key}", str(value)) for key, value in params.items() if value is not None]
        self._client.log_batch(run_id, metrics=_metrics(measures) + _curve(curve), params=shown)
        self._client.set_terminated(run_id)
        return run_id

    def log_trial(self, record: TrialRecord, label: str, searched: Sequence[str], common: Mapping[str, str]) -> None:
        """Log an ended trial as a child run: every searched param, its measures, its curve, and why it failed."""
        self._queue.put(lambda: self._log_trial(record, label, searched, common))

    def _log_trial(self, record: TrialRecord, label: str, searched: Sequence[str], common: Mapping[str, str]) -> None:
        started_ms = int(record.started_s * 1000) or int(time.time() * 1000)
        tags = {
            "mlflow.parentRunId": self._parent,
            "sweep": self._sweep,
            "stage": "trial",
            "trial_id": record.trial_id,
            "pareto": label,
        }
        if record.error:
            tags["error"] = record.error.strip().splitlines()[-1][:5000]
        run = self._client.create_run(
            self._experiment_id, start_time=started_ms, tags=tags, run_name=f"{self._sweep}-{record.trial_id}"
        )
        run_id = str(run.info.run_id)
        self._runs[record.trial_id] = run_id
        params = {**{name: record.params.get(name, INACTIVE) for name in searched}, **common}
        spent = [Metric("cost/elapsed_s", record.elapsed_s, started_ms, 0)] if record.elapsed_s else []
        self._client.log_batch(
            run_id,
            metrics=_metrics(record.measures) + _curve(record.curve) + spent,
            params=[Param(key, str(value)) for key, value in params.items()],
        )
        if record.state == "failed":
            self._client.log_text(run_id, record.error, "error.txt")
        status = {"failed": "FAILED", "infeasible": "KILLED", "stopped": "KILLED"}.get(record.state, "FINISHED")
        self._client.set_terminated(run_id, status, end_time=started_ms + int(record.elapsed_s * 1000))

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Change the `pareto` tag of trials that left the front or came to it."""
        changed = dict(labels)

        def work() -> None:
            for trial_id, label in changed.items():
                self._client.set_tag(self._runs[trial_id], "pareto", label)

        self._queue.put(work)

    def log_front(self, num_trials: int, hypervolume: float, size: int) -> None:
        """Log the front's hypervolume and size after `num_trials` trials."""
        now_ms = int(time.time() * 1000)
        values = {"front/hypervolume": hypervolume, "front/size": float(size)}
        metrics = [Metric(key, value, now_ms, num_trials) for key, value in values.items()]
        parent = self._parent
        self._queue.put(lambda: self._client.log_batch(parent, metrics=metrics))

    def log_artifacts(self, paths: Sequence[Path]) -> None:
        """Attach files to the sweep's run."""
        parent = self._parent
        for path in paths:
            self._queue.put(lambda path=path: self._client.log_artifact(parent, str(path)))  # type: ignore[misc]

    def log_measures(self, trial_id: str, measures: Mapping[str, float]) -> None:
        """Add measures that were taken after a trial ended."""
        found = dict(measures)
        self._queue.put(lambda: self._client.log_batch(self._runs[trial_id], metrics=_metrics(found)))

    def set_note(self, markdown: str) -> None:
        """Set the card that MLflow shows on the sweep's page."""
        parent = self._parent
        self._queue.put(lambda: self._client.set_tag(parent, "mlflow.note.content", markdown[:8000]))

    def log_selection(self, document: Mapping[str, Any]) -> None:
        """Attach a selection to the sweep: the document, and its policy, trial and reason as tags."""
        parent = self._parent
        tags = {
            "selected.trial": document["student"]["trial"],
            "selected.policy": document["policy"],
            "selected.reason": document["reason"],
            "selected.test_accuracy": f"{document['test']['accuracy']:.4f}",
        }

        def work() -> None:
            self._client.log_dict(parent, dict(document), "selection.json")
            self._client.log_batch(parent, tags=[RunTag(key, value) for key, value in tags.items()])

        self._queue.put(work)

    def finish(self, status: str) -> None:
        """End the sweep's run as FINISHED, FAILED or KILLED."""
        if self._parent:
            parent = self._parent
            self._queue.put(lambda: self._client.set_terminated(parent, status))

    def save_compare_view(self, searched: Sequence[str]) -> None:
        """Save the ready "Pareto" chart view with the experiment; only a warning where MLflow does not take it."""

        def work() -> None:
            try:
                self._client.set_experiment_tag(self._experiment_id, compare_view.TAG, compare_view.tag_value(searched))
            except MlflowException as error:
                logger.warning("the compare view could not be saved: %s", error)

        self._queue.put(work)

    @property
    def run_ids(self) -> dict[str, str]:
        """The child run of every trial that is written; call `flush` first for all of them."""
        return dict(self._runs)

    @property
    def ui_command(self) -> str:
        """The command that opens MLflow's pages on this store, or the server's own address."""
        if self.uri.startswith(("http://", "https://")):
            return redact(self.uri)
        return f"mlflow ui --backend-store-uri {redact(self.uri)}"

    @property
    def view_path(self) -> str:
        """The path of the ready chart page, below the address of MLflow's server."""
        return compare_view.path(self._experiment_id)


def _metrics(measures: Mapping[str, float]) -> list[Metric]:
    """Return final measures as metrics at step 0, with log10 of the size where MLflow's charts have no log axis."""
    now_ms = int(time.time() * 1000)
    values = {METRICS[name]: value for name, value in measures.items() if name in METRICS}
    if measures.get("params", 0) > 0:
        values["size/log10_params"] = math.log10(measures["params"])
    return [Metric(key, value, now_ms, 0) for key, value in values.items() if math.isfinite(value)]


def _curve(rows: Sequence[Mapping[str, float]]) -> list[Metric]:
    now_ms = int(time.time() * 1000)
    return [
        Metric(f"train/{name}", value, now_ms, int(row["epoch"]))
        for row in rows
        for name, value in row.items()
        if name in ("train_loss", "accuracy") and math.isfinite(value)
    ]


def _open_client(uri: str) -> mlflow.MlflowClient:
    if ("://" not in uri and not uri.startswith(("sqlite:", "postgresql", "mysql"))) or uri.startswith("file:"):
        raise UnreachableError(
            f"tracking URI {uri} is a directory, which MLflow no longer writes. Use sqlite:///FILE.db or an http:// server."
        )
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri.startswith(("http://", "https://")):
        _probe(uri)
    try:
        if uri.startswith(SQLITE):
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, ImportError, OSError) as error:
        raise UnreachableError(_out_of_reach(uri, error)) from None


def _probe(uri: str) -> None:
    """Ask a server for its health once, so that a wrong address is told in seconds and not after MLflow's retries."""
    import requests

    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except requests.RequestException as error:
        raise UnreachableError(_out_of_reach(uri, error)) from None
    if answer.status_code == 403:
        raise UnreachableError(
            f"MLflow at {redact(uri)} answers 403. Start it with --allowed-hosts naming this host and port, "
            "or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


def _out_of_reach(uri: str, error: Exception) -> str:
    why = redact(str(error).splitlines()[0]) if str(error) else type(error).__name__
    return f"MLflow at {redact(uri)} is out of reach ({why}). Set `tracking.uri` or --tracking-uri to a store that answers."
