"""Work from the spool written to MLflow, in such a way that writing it again changes nothing.

Runs are looked for before they are created, a metric's time comes from its run and its record and never from the clock,
params that are there are left, tags are overwritten. MLflow keeps one row a (run, key, time, step, value), so a metric that
is sent twice is there once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlflow
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from tutelage import environment
from tutelage.errors import UnreachableError
from tutelage.measure import Measure
from tutelage.records import mlflow_views
from tutelage.records.spool import Work
from tutelage.redaction import redact
from tutelage.spec.paths import sqlite_path

logger = logging.getLogger(__name__)


PROBE_TIMEOUT_S = 10.0


FRONT_KEYS = ("front/hypervolume", "front/size")  # of the sweep's own run, beside the primary measure


PAGE = 1000


_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow's own would send create_run again when only its answer was lost
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


_environment_lock = threading.RLock()


@dataclass
class Child:
    """What MLflow holds of a trial."""

    run_id: str
    start_ms: int
    ended: bool = False
    deleted: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    label: str = ""

    @classmethod
    def of(cls, run: Run) -> Child:
        """Return what a run that was found holds."""
        return cls(
            run_id=str(run.info.run_id), start_ms=int(run.info.start_time), ended=run.info.status != "RUNNING",
            deleted=run.info.lifecycle_stage != "active", metrics=dict(run.data.metrics), params=dict(run.data.params),
            label=run.data.tags.get("pareto", ""),
        )  # fmt: skip


class MlflowWriter:
    """The one hand that writes to MLflow; `write` does one piece of work, or raises what MLflow raised.

    Opening makes the store and the experiment ready, and raises `UnreachableError` when the store does not answer, refuses,
    or is a directory that MLflow no longer writes.
    """

    def __init__(self, uri: str, experiment: str, primary: Measure) -> None:
        self.uri, self._primary = uri, primary
        self._client = _open_client(uri)
        try:
            with one_attempt():
                self.experiment_id = self._ready_experiment(experiment)
        except (MlflowException, OSError) as error:
            raise UnreachableError(_out_of_reach(uri, error)) from None
        self.run_ids: dict[str, dict[str, str]] = {}  # by the sweep's run and the trial; known also while MLflow is away
        self._children: dict[str, dict[str, Child]] = {}
        self._fronts: dict[str, set[tuple[int, str, float]]] = {}
        self._how: dict[str, Callable[[Work], None]] = {
            "run": self._write_run, "data": self._write_data, "teacher": self._write_teacher, "trial": self._write_trial,
            "measures": self._write_measures, "labels": self._write_labels, "front": self._write_front,
            "files": self._write_files, "status": self._write_status, "view": self._write_view,
        }  # fmt: skip

    def _ready_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": self._primary.mlflow_key,
            "mlflow.experiment.primaryMetric.greaterIsBetter": str(self._primary.direction == "maximise").lower(),
        }
        location = None
        if database := sqlite_path(self.uri):  # MLflow's own default is a directory below wherever one happens to stand
            location = (database.parent / "artifacts").resolve().as_uri()
        try:
            return str(self._client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException:  # another process created it in between
            if (found := self._client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)

    def write(self, work: Work) -> None:
        """Do one piece of work."""
        with one_attempt():
            self._how[work["do"]](work)

    def answers(self) -> bool:
        """Return whether the store responds to a request."""
        try:
            with one_attempt():
                self._client.get_experiment(self.experiment_id)
        except Exception:  # whatever it is, there is no answer
            return False
        return True

    def forget(self) -> None:
        """Look again at what MLflow holds before the next writing: after a failure, what was written is unknown."""
        self._children.clear()
        self._fronts.clear()

    def is_final(self, error: Exception) -> bool:
        """Say whether trying again cannot help: MLflow understood and refused, or a file is not there."""
        if isinstance(error, MlflowException):
            status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
            return status in (400, 404, 409)
        return isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError)

    def describe(self, error: Exception) -> str:
        """Return in words that the store does not answer, why, and what to set."""
        return _out_of_reach(self.uri, error)

    def sweep_of(self, run_id: str) -> str:
        """Return the name of a run's sweep."""
        with one_attempt():
            return str(self._client.get_run(run_id).data.tags["sweep"])

    def parent_of(self, key: str, name: str, start_ms: int) -> str:
        """Return the id of the sweep's run that carries the key; it is created where there is none."""
        with one_attempt():
            found = self._client.search_runs([self.experiment_id], f"tags.`tutelage.key` = '{key}'", max_results=1)
            if found:
                return str(found[0].info.run_id)
            tags = {"tutelage.key": key, "sweep": name, "stage": "sweep", "pareto": "sweep"}
            run = self._client.create_run(self.experiment_id, start_time=start_ms, tags=tags, run_name=name)
            return str(run.info.run_id)

    def children(self, parent: str) -> dict[str, Child]:
        """Return what MLflow holds of a sweep's trials, by trial; requested once."""
        if parent not in self._children:
            found: dict[str, Child] = {}
            token = None
            while True:
                with one_attempt():
                    page = self._client.search_runs(
                        [self.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", ViewType.ALL, PAGE,
                        page_token=token,
                    )  # fmt: skip
                found |= {run.data.tags["trial_id"]: Child.of(run) for run in page if "trial_id" in run.data.tags}
                if not (token := page.token):
                    break
            self._children[parent] = found
            self.run_ids[parent] = {trial: child.run_id for trial, child in found.items()}
        return self._children[parent]

    def _write_run(self, work: Work) -> None:
        """Write to the sweep's own run: params and tags, and a text as a file."""
        self._log(work["run"], params=work.get("params"), tags=work.get("tags"))
        if "file" in work:
            self._client.log_text(work["run"], work["text"], work["file"])

    def _write_data(self, work: Work) -> None:
        inputs = [
            DatasetInput(
                mlflow.entities.Dataset(
                    name=f"{work['name']}-{split}"[:500],
                    digest=work["fingerprint"][:32],
                    source_type="local",
                    source=work["name"],
                    profile=f'{{"num_examples": {count}}}',
                ),
                [InputTag("mlflow.data.context", split)],
            )
            for split, count in work["num_examples"].items()
        ]
        self._client.log_inputs(work["run"], inputs)

    def _write_teacher(self, work: Work) -> None:
        """Log the teacher as a run of its own, once for its content address, and link it from the sweep."""
        address = work["address"]
        found = self._client.search_runs([self.experiment_id], f"tags.teacher_address = '{address}'", max_results=1)
        if found:
            teacher = Child.of(found[0])
        else:
            tags = {"stage": "teacher", "teacher_address": address, "pareto": "teacher"}
            teacher = self._create(work["name"], work["at_ms"], tags)
        if not teacher.ended:
            self._log(teacher.run_id, _metrics(work["metrics"], work["curve"], teacher.start_ms, 0), work["params"])
            self._client.set_terminated(teacher.run_id, end_time=work["at_ms"])
        self._client.set_tag(work["run"], "teacher_run_id", teacher.run_id)

    def _create(self, name: str, start_ms: int, tags: Mapping[str, str]) -> Child:
        run = self._client.create_run(self.experiment_id, start_time=start_ms, tags=dict(tags), run_name=name)
        return Child(str(run.info.run_id), start_ms)

    def _write_trial(self, work: Work) -> None:
        """Write a trial's run: created if it is not there, completed if it is half written, left if it is whole."""
        children, name = self.children(work["run"]), work["trial"]
        if name not in children:
            tags = {**work["tags"], "mlflow.parentRunId": work["run"], "trial_id": name, "pareto": work["label"]}
            children[name] = self._create(work["name"], work["start_ms"], tags)
            self.run_ids[work["run"]][name] = children[name].run_id
        child = children[name]
        if child.deleted:
            return
        metrics = {key: value for key, value in work["metrics"].items() if child.metrics.get(key) != value}
        params = {key: value for key, value in work["params"].items() if key not in child.params}
        if metrics or params or not child.ended:
            self._log(child.run_id, _metrics(metrics, work["curve"], child.start_ms, work["elapsed_ms"]), params)
            if work["error"]:
                self._client.log_text(child.run_id, work["error"], "error.txt")
            self._client.set_terminated(child.run_id, work["status"], end_time=child.start_ms + work["elapsed_ms"])
        child.ended, child.metrics, child.params = True, child.metrics | metrics, child.params | params
        self._label(child, work["label"])

    def _label(self, child: Child, label: str) -> None:
        if child.label != label and not child.deleted:
            self._client.set_tag(child.run_id, "pareto", label)
            child.label = label

    def _write_labels(self, work: Work) -> None:
        children = self.children(work["run"])
        for trial, label in work["labels"].items():
            self._label(children[trial], label)

    def _write_front(self, work: Work) -> None:
        known = self._front(work["run"])
        new = {(step, key, value) for step, key, value in work["rows"]} - known
        self._log(work["run"], [Metric(key, value, work["at_ms"], step) for step, key, value in sorted(new)])
        known |= new

    def _front(self, parent: str) -> set[tuple[int, str, float]]:
        """Return what the sweep's run holds of its front, as (step, key, value); requested once."""
        if parent not in self._fronts:
            self._fronts[parent] = {
                (metric.step, key, metric.value)
                for key in (*FRONT_KEYS, self._primary.mlflow_key)
                for metric in self._client.get_metric_history(parent, key)
            }
        return self._fronts[parent]

    def _write_measures(self, work: Work) -> None:
        child = self.children(work["run"])[work["trial"]]
        new = {key: value for key, value in work["metrics"].items() if child.metrics.get(key) != value}
        if not child.deleted:
            self._log(child.run_id, [Metric(key, value, work["at_ms"], 0) for key, value in new.items()])
        child.metrics |= new

    def _write_files(self, work: Work) -> None:
        for path in work["paths"]:
            self._client.log_artifact(work["run"], path)

    def _write_status(self, work: Work) -> None:
        if work["status"] == "RUNNING":
            self._client.update_run(work["run"], "RUNNING")
        else:
            self._client.set_terminated(work["run"], work["status"], end_time=work["at_ms"])

    def _write_view(self, work: Work) -> None:
        """Save the ready chart pages with the experiment; only a warning where MLflow does not take them."""
        try:
            for key, value in mlflow_views.tags(work["searched"], self._primary).items():
                self._client.set_experiment_tag(self.experiment_id, key, value)
        except MlflowException as error:
            if self.is_final(error):
                logger.warning("the compare page could not be saved: %s", error)
            else:
                raise

    def _log(
        self, run_id: str, metrics: list[Metric] | None = None, params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write in one request, or in as many as MLflow's limits ask for; its client sees to that."""
        self._client.log_batch(
            run_id,
            metrics=metrics or [],
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )


def _metrics(
    finals: Mapping[str, float], curve: Sequence[tuple[str, float, int]], start_ms: int, elapsed_ms: int
) -> list[Metric]:
    """Return final values at step 0, and a curve with its epochs spread evenly over the time that the training took."""
    last = max((epoch for _, _, epoch in curve), default=1)
    at_end = [Metric(key, value, start_ms + elapsed_ms, 0) for key, value in finals.items()]
    return at_end + [Metric(key, value, start_ms + elapsed_ms * epoch // last, epoch) for key, value, epoch in curve]


@contextmanager
def one_attempt() -> Iterator[None]:
    """Keep MLflow's client from trying again by itself, and from printing to stdout, for the time of a block."""
    with _environment_lock, environment.set_to(_ENVIRONMENT):
        yield


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
        if database := sqlite_path(uri):
            database.parent.mkdir(parents=True, exist_ok=True)
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, ImportError, OSError) as error:
        raise UnreachableError(_out_of_reach(uri, error)) from None


def _probe(uri: str) -> None:
    """Request a server's health once, so that a wrong address is reported in seconds and not after MLflow's retries."""
    import requests

    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except requests.RequestException as error:
        raise UnreachableError(_out_of_reach(uri, error)) from None
    if answer.status_code == 403:
        raise UnreachableError(
            f"MLflow at {redact(uri)} responds with 403. Start it with --allowed-hosts naming this host and port, "
            "or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


def _out_of_reach(uri: str, error: Exception) -> str:
    why = redact(str(error).splitlines()[0]) if str(error) else type(error).__name__
    return f"MLflow at {redact(uri)} is out of reach ({why}). Set `tracking.uri` or --tracking-uri to a store that responds."
