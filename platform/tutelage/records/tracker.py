"""A sweep in MLflow: a parent run, a child run a trial, the teacher beside them.

Every call but the opening ones puts its work on a spool on disk and returns; one thread carries it to MLflow in order
(`sender.py`, `mlflow_writer.py`). While MLflow is away the work waits there, and nothing else waits.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException

from tutelage.errors import UnreachableError
from tutelage.measure import Measure
from tutelage.records import lineage
from tutelage.records.mlflow_format import fit_certified, fit_curve, fit_measures, fit_params, fit_tags, origin_tags
from tutelage.records.mlflow_writer import MlflowWriter, Snapshot
from tutelage.records.sender import Sender
from tutelage.records.spool import Spool
from tutelage.records.sweep_dir import measures_in
from tutelage.records.sweeps import sweep_at
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redact, redacted
from tutelage.spec.loading import tracking_uri
from tutelage.spec.spec import Spec
from tutelage.spec.yaml_lines import dump


def tracker_of(spec: Spec, run_id: str = "") -> Tracker:
    """Return the tracker that the spec asks for, by default a SQLite store in its storage; `run_id` is the sweep's if known."""
    spool = sweep_at(spec.storage, spec.name).spool_path
    return Tracker(tracking_uri(spec), spec.tracking.experiment or task_name(spec), spool, spec.measures, run_id)


def task_name(spec: Spec) -> str:
    """Return the name of the spec's task plugin."""
    return spec.task if isinstance(spec.task, str) else next(iter(spec.task))


logger = logging.getLogger(__name__)

STATUS = {"failed": "FAILED", "infeasible": "KILLED", "stopped": "KILLED"}  # of a run in MLflow, by a trial's state
CANDIDATES = ("front", "dominated")
NOTE = "mlflow.note.content"  # the tag whose Markdown MLflow shows on a run's page
INACTIVE = "none"  # of a searched param that a trial's branch does not have; MLflow's charts drop runs that lack a param

Answer = TypeVar("Answer")


class Tracker:
    """The one writer of a sweep. Opening it makes the store and the experiment ready, before any worker starts.

    `spool` is where work waits on disk; what a killed process left there is written first. Without one the work waits in a
    temporary file, and `close` raises if MLflow has not taken it all. Raises `UnreachableError` when the store does not
    answer, refuses, or is a directory that MLflow no longer writes.

    `measures` are those of the sweep by name, the primary one first; by default the package's own. `run_id` is that of the
    sweep's run, if it has one: work goes to its experiment, which may have been renamed; see `has_lost_run`. Raises
    `InputError` for a run or an experiment that was deleted in MLflow.
    """

    def __init__(
        self, uri: str, experiment: str, spool: Path | None = None, measures: Mapping[str, Measure] | None = None,
        run_id: str = "",
    ) -> None:  # fmt: skip
        self.uri, self.experiment, self.spool_path = uri, experiment, spool
        self._measures = measures or measures_in({})
        self._primary = next(iter(self._measures.values()))
        self._run_id = run_id
        self._writer = MlflowWriter(uri, experiment, self._primary, run_id, spool.parent if spool else Path())
        self._sender: Sender | None = None
        self._parent = self._sweep = ""
        self._best = math.nan  # primary measure on the front

    def start_sweep(self, name: str, spec: Mapping[str, Any], searched: Sequence[str], tags: Mapping[str, str]) -> str:
        """Return the id of the sweep's run, with the resolved spec and the lineage on their way to it.

        The run carries the spool's key, so that a process killed here and started again finds its run and makes no other.
        """
        spool = self._open_spool()
        self._sender = Sender(spool, self._writer)
        self._parent = self._queried(lambda: self._writer.parent_of(spool.key, name, _now_ms()))
        self._sweep = name
        more = {"searched": ", ".join(searched), **lineage.tags()}
        text = dump(redacted(spec))
        more = {**more, NOTE: explorer_note(self._parent, name)}
        self._enqueue("run", params=fit_params(tags), tags=fit_tags(more), file="spec.yaml", text=text)
        return self._parent

    def reopen(self, run_id: str, *, resumed: bool = False) -> None:
        """Continue to write to a sweep's run, after what its spool still holds; `resumed` marks it as running again.

        Trials that are wholly written may be logged again: they are left as they are, and half-written ones completed.
        """
        self._sweep = self._queried(lambda: self._writer.sweep_of(run_id))
        self._queried(lambda: self._writer.children(run_id))
        self._parent, self._sender = run_id, Sender(self._open_spool(), self._writer)
        if resumed:
            self._enqueue("status", status="RUNNING")

    def find_run(self, name: str, records: Iterable[TrialRecord]) -> str | None:
        """Return the id of the run that a sweep has already by its trials; None if MLflow has none of them.

        So a sweep whose events were lost goes on with its run, and no trial is logged twice.
        """
        started = {one.trial_id: _started_ms(one) for record in records for one in record.per_candidate() if one.started_s}
        return self._queried(lambda: self._writer.run_with(name, started)) if started else None

    @property
    def has_lost_run(self) -> bool:
        """Whether MLflow no longer holds the sweep's run, as after its database was lost."""
        return bool(self._run_id) and not self._writer.holds_run

    def _open_spool(self) -> Spool:
        """Open the spool; not before the first run, because a sweep's directory is not there before.

        Work for a run that MLflow has lost is dropped: MLflow would reject it, and the run is written again.
        """
        if self.spool_path is not None:
            return Spool(self.spool_path, anew=self.has_lost_run)
        self._scratch = Path(tempfile.mkdtemp(prefix="tutelage-tracking-"))
        return Spool(self._scratch / "tracking.spool")

    def _queried(self, query: Callable[[], Answer]) -> Answer:
        try:
            return query()
        except (MlflowException, OSError, KeyError) as error:
            raise UnreachableError(self._writer.describe(error)) from None

    def _enqueue(self, do: str, **fields: Any) -> None:
        assert self._sender is not None, "start_sweep or reopen comes first"
        self._sender.append({"do": do, "run": self._parent, "at_ms": _now_ms(), **fields})

    @property
    def num_waiting(self) -> int:
        """How many entries MLflow has not received yet."""
        return self._sender.num_waiting if self._sender else 0

    @property
    def written_s(self) -> float:
        """How many seconds writing to MLflow has taken."""
        return self._sender.written_s if self._sender else 0.0

    @property
    def num_found(self) -> int:
        """How many entries an earlier process had left in the spool."""
        return self._sender.num_found if self._sender else 0

    def flush(self) -> bool:
        """Wait until everything so far is written, or MLflow has taken nothing for a while; say whether all is."""
        return self._sender is None or self._sender.flush()

    def close(self) -> None:
        """Write what waits, for as long as MLflow takes it. What is left stays in the spool, with a warning.

        Raises `UnreachableError` if something is left and there is no spool to keep it.
        """
        if self._sender is None:
            return
        sender, self._sender = self._sender, None
        waiting = sender.close()
        if self.spool_path is None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if said := self._left_over(waiting, sender.refused):
            if self.spool_path is None:
                raise UnreachableError(said)
            logger.warning(said)

    def _left_over(self, waiting: int, refused: Sequence[str]) -> str:
        said = []
        if waiting:
            where = (
                f" They wait in {self.spool_path}; `tutelage track {self._sweep}` brings them in." if self.spool_path else ""
            )
            said.append(f"MLflow at {redact(self.uri)} has not taken {waiting} entries of {self._sweep}.{where}")
        if refused:
            where = f" They are kept in {self.spool_path.with_suffix('.refused')}." if self.spool_path else ""
            said.append(f"MLflow at {redact(self.uri)} refused {len(refused)} entries; the first: {refused[0]}{where}")
        return "\n".join(said)

    def log_dataset(self, run_id: str, name: str, fingerprint: str, num_examples: Mapping[str, int]) -> None:
        """Attach one data set a split to the sweep, all under the data's fingerprint (SHA-256)."""
        self._enqueue("data", run=run_id, name=redact(name), fingerprint=fingerprint, num_examples=dict(num_examples))

    def log_teacher(
        self, name: str, address: str, params: Mapping[str, Any], measures: Mapping[str, float],
        curve: Sequence[Mapping[str, float]],
    ) -> None:  # fmt: skip
        """Log the teacher as a run of its own, once for its content address, and link it from the sweep."""
        shown = {f"teacher.{key}": value for key, value in params.items() if value is not None}
        self._enqueue(
            "teacher", name=name, address=address, params=fit_params(shown), metrics=fit_measures(measures, self._measures),
            curve=fit_curve(curve),
        )  # fmt: skip

    def log_trial(self, record: TrialRecord, label: str, searched: Sequence[str], common: Mapping[str, str]) -> None:
        """Log an ended trial, or one of its candidates, as a child run: searched params, measures, curve, and why it failed.

        Several candidates of a trial are children of the sweep's run as all others are, so that MLflow's charts and tables have
        them; each is tagged with the trial that gave it.
        """
        if label in CANDIDATES:
            value = record.measures.get(self._primary.name, math.nan)
            self._best = value if math.isnan(self._best) or self._primary.is_better(value, self._best) else self._best
        tags = {"sweep": self._sweep, "stage": "trial", **origin_tags(record)}
        if record.error:
            tags["error"] = record.error.strip().splitlines()[-1]
        spent = {"cost/elapsed_s": record.elapsed_s} if record.elapsed_s else {}
        self._enqueue(
            "trial",
            trial=record.trial_id,
            name=f"{self._sweep}-{record.trial_id}",
            start_ms=_started_ms(record) or _now_ms(),
            elapsed_ms=int(record.elapsed_s * 1000),
            status=STATUS.get(record.state, "FINISHED"),
            label=label,
            tags=fit_tags(tags),
            params=fit_params({**{name: record.params.get(name, INACTIVE) for name in searched}, **common}),
            metrics={**fit_measures(record.measures, self._measures), **spent},
            curve=fit_curve(record.curve),
            error=redact(record.error) if record.state == "failed" else "",
        )

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Change the `pareto` tag of trials that left the front or came to it."""
        self._enqueue("labels", labels=dict(labels))

    def log_front(self, num_trials: int, hypervolume: float, size: int) -> None:
        """Log the front's hypervolume and size after `num_trials` trials, and the best primary measure so far.

        The best value stands on the sweep's run under a trial's own name, at step 0: sorted by it, MLflow shows the sweep
        above its trials, however many there are, and so draws the hypervolume on the page of the trials.
        """
        rows = [(num_trials, "front/hypervolume", hypervolume), (num_trials, "front/size", float(size))]
        rows.append((0, self._primary.mlflow_key, self._best))
        self._enqueue("front", rows=[row for row in rows if math.isfinite(row[2])])

    def log_artifacts(self, paths: Sequence[Path]) -> None:
        """Attach files to the sweep's run, as they are when MLflow takes them."""
        for path in paths:
            self._enqueue("files", paths=[str(self._seen_from_spool(path.absolute()))])

    def _seen_from_spool(self, path: Path) -> Path:
        """Return a path relative to the spool, which may be moved before MLflow takes the file."""
        home = self.spool_path.parent.absolute() if self.spool_path else None
        return path.relative_to(home) if home and path.is_relative_to(home) else path

    def log_snapshot(self, make: Callable[[], Snapshot]) -> None:
        """Attach what `make` returns to the sweep's run as its snapshot, once all runs before it are written.

        `make` is called in the writer's thread; of several that wait, only the latest.
        """
        self._writer.snapshot = make
        self._enqueue("snapshot")

    def log_measures(self, trial_id: str, measures: Mapping[str, float]) -> None:
        """Add measures that were taken after a trial ended."""
        self._enqueue("measures", trial=trial_id, metrics=fit_measures(measures, self._measures))

    def set_note(self, markdown: str, picture: str = "front.png") -> None:
        """Set the card that MLflow shows on the sweep's page, with an attached picture below its heading."""
        heading, _, rest = markdown.partition("\n")
        drawn = f"![{picture}](get-artifact?path={picture}&run_uuid={self._parent})"
        shown = f"{heading}\n\n{drawn}\n\n{explorer_note(self._parent, self._sweep)}\n{rest}"
        self._enqueue("run", tags=fit_tags({NOTE: shown}))

    def log_selection(self, document: Mapping[str, Any]) -> None:
        """Attach a selection to the sweep: the document, and its policy, trial, reason and guard as tags.

        Each candidate that the guard has tested gets the test's figures as metrics.
        """
        tags = {
            "selected.trial": document["student"]["trial"],
            "selected.policy": document["policy"],
            "selected.reason": document["reason"],
            f"selected.test_{self._primary.name}": self._primary.text(document["test"]["value"]),
        }
        guard = document["guard"]
        if guard:
            tags |= {"selected.guard": guard["guarantee"], "selected.is_certified": str(guard["is_certified"]).lower()}
        self._enqueue("run", tags=fit_tags(tags), file="selection.json", text=json.dumps(redacted(document), indent=2))
        if guard:
            for step in guard["steps"]:
                self._enqueue("measures", trial=step["trial"], metrics=fit_certified(step))

    def finish(self, status: str) -> None:
        """End the sweep's run as FINISHED, FAILED or KILLED."""
        if self._parent:
            self._enqueue("status", status=status)

    def save_compare_view(self, searched: Sequence[str]) -> None:
        """Save the ready chart pages with the experiment; only a warning where MLflow does not take them."""
        self._enqueue("view", searched=list(searched))

    @property
    def run_ids(self) -> dict[str, str]:
        """The child run of every trial that is written; call `flush` first for all of them."""
        return dict(self._writer.run_ids.get(self._parent, {}))

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment."""
        return self._writer.experiment_id


def explorer_note(run_id: str, name: str) -> str:
    """Return the link from a sweep's page in MLflow to its explorer, and what serves both, as Markdown."""
    return (
        f"[Open the front in the explorer](tutelage/#sweep={run_id}) (served by `tutelage dashboard {name}` and "
        "`mlflow server --app-name tutelage`)"
    )


def _started_ms(record: TrialRecord) -> int:
    return int(record.started_s * 1000)


def _now_ms() -> int:
    return int(time.time() * 1000)
