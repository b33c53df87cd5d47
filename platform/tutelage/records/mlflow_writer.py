"""Work from the spool written to MLflow, in such a way that writing it again changes nothing.

Runs are looked for before they are created, a metric's time comes from its run and its record and never from the clock,
params that are there are left, tags are overwritten. MLflow keeps one row a (run, key, time, step, value), so a metric that
is sent twice is there once.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from tutelage.errors import UnreachableError
from tutelage.measure import Measure
from tutelage.records import mlflow_runs, mlflow_store, mlflow_views
from tutelage.records.mlflow_runs import Child
from tutelage.records.mlflow_store import one_attempt
from tutelage.records.spool import Work

logger = logging.getLogger(__name__)


PROBE = "tutelage.probe"  # the tag that is set to test whether the store can be written


SNAPSHOT = "explorer/snapshot.json.gz"  # the artifact of the sweep's own run that the explorer reads


NUM_CANDIDATES = "tutelage.candidates"  # the tag with the number of candidates in it, for lists of sweeps


class Snapshot(NamedTuple):
    """A snapshot as gzipped JSON, and how many candidates it has."""

    data: bytes
    num_candidates: int


FRONT_KEYS = ("front/hypervolume", "front/size")  # of the sweep's own run, beside the primary measure


class MlflowWriter:
    """The only writer to MLflow; `write` does one piece of work, or raises what MLflow raised.

    Opening makes the store and the experiment ready: that of the sweep's run if MLflow holds a run `run_id`, else the one
    called `experiment`. Raises `UnreachableError` when the store does not respond, rejects the request, or is a
    directory that MLflow no longer writes, and `InputError` for a run or an experiment that was deleted. Files are seen from
    `root`.
    """

    def __init__(self, uri: str, experiment: str, primary: Measure, run_id: str = "", root: Path = Path()) -> None:
        self.uri, self._primary, self._root = uri, primary, root
        self._client = mlflow_store.open_client(uri)
        try:
            with one_attempt():
                held = mlflow_store.experiment_of_run(self._client, uri, run_id) if run_id else None
                self.holds_run = held is not None
                self.experiment_id = held or mlflow_store.ready_experiment(self._client, uri, experiment, primary)
        except (MlflowException, OSError) as error:
            raise UnreachableError(mlflow_store.out_of_reach(uri, error)) from None
        self.run_ids: dict[str, dict[str, str]] = {}  # by the sweep's run and the trial; known also while MLflow is away
        self._children: dict[str, dict[str, Child]] = {}
        self._fronts: dict[str, set[tuple[int, str, float]]] = {}
        self._how: dict[str, Callable[[Work], None]] = {
            "run": self._write_run, "data": self._write_data, "teacher": self._write_teacher, "trial": self._write_trial,
            "measures": self._write_measures, "labels": self._write_labels, "front": self._write_front,
            "files": self._write_files, "status": self._write_status, "view": self._write_view,
            "snapshot": self._write_snapshot,
        }  # fmt: skip
        self.snapshot: Callable[[], Snapshot] | None = None  # makes the latest one; None if MLflow has it

    def write(self, work: Work) -> None:
        """Do one piece of work."""
        with one_attempt():
            self._how[work["do"]](work)

    def takes(self) -> bool:
        """Return whether the store takes a tag of the experiment, which is removed again."""
        try:
            with one_attempt():
                self._client.set_experiment_tag(self.experiment_id, PROBE, "")
                with suppress(MlflowException):  # a server may be too old for this
                    self._client.delete_experiment_tag(self.experiment_id, PROBE)
        except Exception:  # whatever it is, nothing can be written
            return False
        return True

    def forget(self) -> None:
        """Look again at what MLflow holds before the next writing: after a failure, what was written is unknown."""
        self._children.clear()
        self._fronts.clear()

    def is_final(self, error: Exception) -> bool:
        """Return whether another try cannot help: MLflow rejected the request, or a file is not there."""
        if isinstance(error, MlflowException):
            status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
            return status in (400, 404, 409)
        return isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError)

    def describe(self, error: Exception) -> str:
        """Return a message that the store does not respond, with the reason and what to set."""
        return mlflow_store.out_of_reach(self.uri, error)

    def sweep_of(self, run_id: str) -> str:
        """Return the name of a run's sweep, and write to the experiment of that run from now on."""
        with one_attempt():
            run = self._client.get_run(run_id)
        self.experiment_id = str(run.info.experiment_id)
        return str(run.data.tags["sweep"])

    def parent_of(self, key: str, name: str, start_ms: int) -> str:
        """Return the id of the sweep's run that carries the key; it is created where there is none."""
        with one_attempt():
            found = self._client.search_runs([self.experiment_id], f"tags.`tutelage.key` = '{key}'", max_results=1)
            if found:
                return str(found[0].info.run_id)
            tags = {"tutelage.key": key, "sweep": name, "stage": "sweep", "pareto": "sweep"}
            run = self._client.create_run(self.experiment_id, start_time=start_ms, tags=tags, run_name=name)
            return str(run.info.run_id)

    def run_with(self, name: str, started_ms: Mapping[str, int]) -> str | None:
        """Return the id of the run of a sweep `name` that has one of these trials, started at that time; None if there is none.

        It is looked for in all experiments.
        """
        with one_attempt():
            return mlflow_runs.run_with(self._client, name, started_ms)

    def children(self, parent: str) -> dict[str, Child]:
        """Return what MLflow holds of a sweep's trials, by trial; requested once."""
        if parent not in self._children:
            with one_attempt():
                found = mlflow_runs.children(self._client, self.experiment_id, parent)
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
            self._client.log_artifact(work["run"], str(self._root / path))

    def _write_snapshot(self, work: Work) -> None:
        """Attach the latest snapshot of the sweep; nothing where a later piece of work, or another process, has it.

        It is made here, when all runs before it are written, so that it has their ids.
        """
        make = self.snapshot
        if make is None:
            return
        try:
            made = make()
        except Exception as error:  # a damaged file of the sweep: trying again cannot help
            logger.warning("the snapshot for the explorer could not be made: %s", error)
            return
        folder, _, name = SNAPSHOT.partition("/")
        with tempfile.TemporaryDirectory(prefix="tutelage-snapshot-") as scratch:
            path = Path(scratch) / name
            path.write_bytes(made.data)
            self._client.log_artifact(work["run"], str(path), folder)
        self._client.set_tag(work["run"], NUM_CANDIDATES, str(made.num_candidates))
        if self.snapshot is make:
            self.snapshot = None

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
