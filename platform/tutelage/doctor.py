"""Checks of everything that a sweep needs: versions, storage, MLflow, Ray, GPUs, clock."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import ray

from tutelage.errors import TutelageError
from tutelage.networks import staircase
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.mlflow_format import ui_command
from tutelage.records.tracker import Tracker
from tutelage.spec.loading import default_tracking_uri
from tutelage.storage import open_storage
from tutelage.training import cluster

MAX_CLOCK_SKEW_S = 2.0


def examine(storage: str | Path, tracking_uri: str | None, address: str | None) -> list[dict[str, str]]:
    """Return one row a check: `check`, `state` (ok or failed), and `found`, what is there or what to do."""
    uri = tracking_uri or default_tracking_uri(storage)
    rows = [
        _row("versions", lambda: ", ".join(f"{name} {version(name)}" for name in ("tutelage", "torch", "ray", "mlflow"))),
        _row("storage", lambda: _storage(storage)),
        _row("tracking", lambda: _tracking(uri)),
        _row("widths", lambda: _widths(storage)),
    ]
    try:
        with cluster.cluster(address, Dispatcher()):
            rows += [_row("cluster", _cluster), _row("storage from a worker", lambda: _from_a_worker(storage))]
            rows.append(_row("clock of a worker", _clock))
    except TutelageError as error:
        rows.append({"check": "cluster", "state": "failed", "found": str(error)})
    return rows


def _row(check: str, examine: Callable[[], str]) -> dict[str, str]:
    try:
        return {"check": check, "state": "ok", "found": examine()}
    except (TutelageError, OSError, ray.exceptions.RayError) as error:
        return {"check": check, "state": "failed", "found": str(error)}


def _storage(storage: str | Path) -> str:
    open_storage(storage).check()
    return f"{storage} is writable"


def _widths(storage: str | Path) -> str:
    """Return as text which widths ONNX Runtime runs fastest; measured once on each machine, and cached in the storage."""
    found = staircase.kept(open_storage(storage).within("machines"))
    times = ", ".join(f"{width}: {ms:.3g}" for width, ms in found["latency_ms"].items())
    if found["step"] == 1:
        return f"all widths are equally efficient in ONNX Runtime (channels: ms {times})"
    return (
        f"widths off a multiple of {found['step']} are slower in ONNX Runtime (channels: ms {times}); "
        f"sparsity.method: {{channels: {{round_to: {found['step']}}}}}"
    )


def _tracking(uri: str) -> str:
    tracker = Tracker(uri, "tutelage-doctor")
    try:
        tracker.start_sweep("doctor", {}, [], {})
        tracker.finish("FINISHED")
    finally:
        tracker.close()
    return f"a run was written to {ui_command(uri)}"


def _cluster() -> str:
    held = ray.cluster_resources()
    return f"{held.get('CPU', 0):g} CPUs, {held.get('GPU', 0):g} GPUs on {len(ray.nodes())} nodes"


def _from_a_worker(storage: str | Path) -> str:
    """Write a file in a worker and read it here, which shows whether the storage is shared."""
    key, place = f".doctor-{uuid.uuid4().hex}", open_storage(storage)
    ray.get(ray.remote(num_cpus=0)(lambda: place.put(key, "here")).remote())
    if key not in place.list():
        raise OSError(f"a file that a worker wrote to {storage} is not visible here; the storage must be shared by all nodes")
    place.remove(key)
    return "a worker's file is visible here"


def _clock() -> str:
    before_s = time.time()
    there_s: float = ray.get(ray.remote(num_cpus=0)(lambda: time.time()).remote())
    skew_s = max(before_s - there_s, there_s - time.time(), 0.0)
    if skew_s > MAX_CLOCK_SKEW_S:
        raise OSError(f"it differs by {skew_s:.1f} s from the driver's; synchronise the clocks of the nodes")
    return f"within {MAX_CLOCK_SKEW_S:g} s of the driver's"
