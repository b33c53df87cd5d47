"""What MLflow holds of sweeps, as the explorer's page asks for it: the list of sweeps, a snapshot, a candidate."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from tutelage.dashboard import answers
from tutelage.dashboard.from_runs import snapshot_of_runs
from tutelage.dashboard.snapshot import packed, unpacked
from tutelage.records.mlflow_runs import experiments, runs
from tutelage.records.mlflow_writer import NUM_CANDIDATES, SNAPSHOT

logger = logging.getLogger(__name__)


FRESH_S = 1.0  # for which what was read is not read again: several pages may look at one sweep
WRITING_S = 0.2  # after which a snapshot that is not whole is read again
MOST_SHARE = 0.1  # of the time that reading the runs of a sweep without a snapshot, one by one, may take
KEPT_BYTES = 32_000_000  # of snapshots in memory, as gzipped JSON; parsed they take many times that

MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's errors for a run that is not there, or cannot be

Artifact = Callable[[str, str], bytes | None]  # (run, path) → the file's bytes; None if it is not there


@dataclass(frozen=True, kw_only=True)
class Read:
    """A snapshot that was read: as gzipped JSON, and parsed; `tag` differs from that of every other content."""

    data: bytes
    document: Mapping[str, Any]
    tag: str
    until_s: float


@dataclass
class _Turn:
    """The lock of a sweep that is being read, and how many threads have it or wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    num_threads: int = 0


class Reader:
    """Reads sweeps from MLflow through a client, and files of their runs through `artifact`. Safe for several threads.

    What several threads ask of a sweep at once is read once. The snapshots used last stay in memory, up to `KEPT_BYTES`.
    """

    def __init__(self, client: MlflowClient, artifact: Artifact) -> None:
        self._client, self._artifact = client, artifact
        self._kept: OrderedDict[str, Read] = OrderedDict()  # by run, that used last at the end
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()  # of both

    def sweeps(self) -> list[dict[str, Any]]:
        """Return all sweeps that MLflow holds, newest first."""
        with _answered("all"):
            found = runs(self._client, experiments(self._client), "tags.stage = 'sweep'", ViewType.ACTIVE_ONLY)
            return [_listed(run) for run in found]

    def snapshot(self, run_id: str) -> Read:
        """Return the snapshot of a sweep; of a sweep without one, or with one that is cut short, made from its runs."""
        with self._in_turn(run_id):
            kept = self._used(run_id)
            if kept and kept.until_s > time.monotonic():
                return kept
            with _answered(run_id):
                run = self._active(run_id)
                read = self._read(run, kept)
            self._keep(run_id, read)
            return read

    @contextmanager
    def _in_turn(self, run_id: str) -> Iterator[None]:
        """Let one thread at a time read a sweep."""
        with self._lock:
            turn = self._turns.setdefault(run_id, _Turn())
            turn.num_threads += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.num_threads -= 1
                if not turn.num_threads:
                    del self._turns[run_id]

    def _used(self, run_id: str) -> Read | None:
        with self._lock:
            if run_id in self._kept:
                self._kept.move_to_end(run_id)
            return self._kept.get(run_id)

    def _keep(self, run_id: str, read: Read) -> None:
        """Keep a snapshot, and drop those that were used longest ago; the newest one stays whatever its size."""
        with self._lock:
            self._kept[run_id] = read
            self._kept.move_to_end(run_id)
            while len(self._kept) > 1 and sum(len(one.data) for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)

    def candidate(self, run_id: str, name: str) -> tuple[Mapping[str, Any], Run]:
        """Return the snapshot of a sweep, and the run of one of its candidates."""
        document = self.snapshot(run_id).document
        if name not in document["id"]:
            raise answers.no_sweep(run_id, f"It has no candidate {name!r:.80}.")
        own = document["run_id"][document["id"].index(name)]
        if own is None:
            raise answers.RequestFailed(404, f"{name} has no run yet.", "MLflow has not received it.", "Try again later.")
        with _answered(own):
            return document, self._client.get_run(own)

    def curves(self, run: Run) -> dict[str, list[tuple[int, float]]]:
        """Return by measure the (epoch, value) of a run's training; epochs whose value is NaN or infinite are left out."""
        with _answered(run.info.run_id):
            keys = [key for key in run.data.metrics if key.startswith("train/")] or _with_steps(self._client, run)
            rows = {key: self._client.get_metric_history(run.info.run_id, key) for key in keys}
        return {
            key.removeprefix("train/"): sorted({(one.step, one.value) for one in each if math.isfinite(one.value)})
            for key, each in rows.items()
        }

    def _active(self, run_id: str) -> Run:
        run = self._client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise answers.no_sweep(run_id, "It was deleted in MLflow.")
        return run

    def _read(self, run: Run, kept: Read | None) -> Read:
        try:
            found = self._stored(run.info.run_id, kept)
        except ValueError:
            time.sleep(WRITING_S)  # the sweep may be writing it at this moment
            try:
                found = self._stored(run.info.run_id, kept)
            except ValueError as error:
                logger.warning("the snapshot of run %s cannot be used: %s", run.info.run_id, error)
                return self._of_runs(run, "The snapshot of this sweep is damaged; it was read from its runs in MLflow.")
        return found or self._of_runs(run, "This sweep has no snapshot; it was read from its runs in MLflow.")

    def _stored(self, run_id: str, kept: Read | None) -> Read | None:
        """Return the snapshot that a sweep has written, None if there is none; `ValueError` for one that is not whole."""
        data = self._artifact(run_id, SNAPSHOT)
        if data is None:
            return None
        tag = hashlib.sha256(data).hexdigest()[:32]
        document = kept.document if kept and kept.tag == tag else unpacked(data)
        return Read(data=data, document=document, tag=tag, until_s=time.monotonic() + FRESH_S)

    def _of_runs(self, run: Run, note: str) -> Read:
        started_s = time.monotonic()
        document = snapshot_of_runs(self._client, run, note)
        data, now_s = packed(document), time.monotonic()
        tag = hashlib.sha256(data).hexdigest()[:32]
        return Read(data=data, document=document, tag=tag, until_s=now_s + max(FRESH_S, (now_s - started_s) / MOST_SHARE))


def _listed(run: Run) -> dict[str, Any]:
    states = {"RUNNING": "running", "FINISHED": "finished", "KILLED": "stopped"}
    return {
        "name": run.data.tags.get("sweep", run.info.run_name), "run_id": run.info.run_id,
        "experiment_id": run.info.experiment_id, "state": states.get(run.info.status, "failed"), "n": _count(run),
        "updated_at": run.info.end_time or run.info.start_time,
    }  # fmt: skip


def _count(run: Run) -> int | None:
    """Return how many candidates the snapshot of a sweep has; None if its run does not say, or says something else."""
    text = run.data.tags.get(NUM_CANDIDATES, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _with_steps(client: MlflowClient, run: Run) -> list[str]:
    """Return the metrics of somebody else's run that were logged at several steps."""
    return [key for key in run.data.metrics if len(client.get_metric_history(run.info.run_id, key)) > 1][:20]


@contextmanager
def _answered(run_id: str) -> Iterator[None]:
    """Turn what MLflow raises into an answer: it has no such run, or it is out of reach."""
    try:
        yield
    except MlflowException as error:
        if error.error_code in MISSING:
            raise answers.no_sweep(run_id, "MLflow does not have it.") from None
        raise answers.out_of_reach(error) from None
    except (OSError, requests.RequestException) as error:
        raise answers.out_of_reach(error) from None
