"""The Ray cluster of a sweep: the connection, and the check of its resources."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

import ray
import torch
from ray._common.utils import get_default_system_temp_dir
from ray._private import ray_constants
from ray._private.utils import get_num_cpus

from tutelage import environment, placement, plugins, signals
from tutelage.errors import UnreachableError
from tutelage.placement import Demand, Node
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec.spec import Spec
from tutelage.training import ray_messages, spare_processes, watchdog

NEEDED_BYTES = 1024 * 1024  # of Ray's temporary directory


@contextmanager
def cluster(address: str | None, events: Dispatcher, spec: Spec | None = None) -> Iterator[None]:
    """Connect to Ray within a block, unless this process is already connected.

    A cluster that starts here has processes that are ready for the trials of `spec`; all of them end with the block, or with
    this process if it is killed. SIGINT, SIGTERM and SIGHUP are exceptions in the block (see `signals`).
    """
    if ray.is_initialized():
        with signals.raised(), ray_messages.on_stderr():
            yield
        return
    events.stage("starting Ray on this machine" if address is None else f"connecting to Ray at {address}")
    is_own = address is None and "RAY_ADDRESS" not in os.environ
    prepared = _prepared(spec) if spec and is_own else nullcontext()
    with signals.raised(), ray_messages.on_stderr(), prepared, _watched(is_own) as mark:
        try:
            _connect(address, mark)
            if spec:
                spare_processes.start(trials_at_once(spec, nodes()))
            yield
        finally:
            with signals.deferred():
                signals.keep_handlers(ray.shutdown)


def gpu_share() -> float:
    """Return the share of the cluster's GPUs that are reserved, by this sweep or others; 0 for a cluster without GPUs."""
    total, free = (found.get("GPU", 0.0) for found in (ray.cluster_resources(), ray.available_resources()))
    return 1 - free / total if total else 0.0


@contextmanager
def _watched(is_own: bool) -> Iterator[str]:
    """Yield the mark of the processes of a cluster of one's own, which end with the block (see `watchdog`)."""
    mark = uuid.uuid4().hex
    if not is_own:
        yield mark
        return
    program = subprocess.Popen(
        [sys.executable, "-P", watchdog.__file__, mark, str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield mark
    finally:
        with signals.deferred():
            held: IO[bytes] | None = program.stdin
            assert held is not None
            held.close()
            program.wait()


def _connect(address: str | None, mark: str) -> None:
    """Connect; the handler of SIGTERM, which ray.init replaces by one that exits with 15, is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address or "RAY_ADDRESS" in os.environ:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start(mark)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UnreachableError(f"Ray at {address or 'this machine'} cannot be reached: {error}") from error
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            signals.stop(signal.SIGTERM)
        raise
    finally:
        signals.put_back(signal.SIGTERM, handler)


def _start(mark: str) -> None:
    """Start Ray on this machine for this process alone, on the loopback interface; its processes have the mark.

    On macOS and Windows Ray listens there by default, by the setting that is changed here. `SPT_NOENV` keeps Ray's agents from
    writing their titles over their environment, which has the mark.
    """
    check_temporary_directory()
    clustered = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment.set_to({watchdog.VARIABLE: mark, "SPT_NOENV": "1"}):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        if type(error) is not Exception:  # of which Ray raises one where its processes have not started in time
            raise
        raise UnreachableError(
            f"Ray has not started on this machine: {error} Start again when the machine is less busy; Ray's logs are in "
            f"{get_default_system_temp_dir()}/session_latest/logs."
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clustered


def check_temporary_directory() -> None:
    """Raise `UnreachableError` if the directory in which Ray keeps its sockets and logs takes no files.

    Ray itself waits there for half a minute for a file that it could not write, and does not say why.
    """
    directory = get_default_system_temp_dir()
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(NEEDED_BYTES))
    except OSError as error:
        raise UnreachableError(
            f"the temporary directory {directory} takes no files ({error.strerror or error}), and Ray needs it. Free space on "
            "its disk, or set RAY_TMPDIR to another directory."
        ) from error


def _prepared(spec: Spec) -> AbstractContextManager[None]:
    """Set the environment of a cluster with spare processes; trials with workers have none, as few of their processes train."""
    _, reader, _ = plugins.configure("data", spec.data)
    wanted = {} if spec.resources.trial.workers else spare_processes.settings(trials_at_once(spec, nodes()), reader)
    return environment.set_to(wanted)


def trials_at_once(spec: Spec, nodes: Sequence[Node]) -> int:
    """Return how many of the spec's trials run at once on the nodes; at least 1."""
    fitting = max(1, placement.jobs_at_once(nodes, demands(spec)[-1]))
    return min(fitting, spec.search.concurrency or fitting, spec.search.trials or fitting)


def check_resources(spec: Spec) -> None:
    """Raise `UnreachableError` if a job of the spec can never run on the nodes that there are, unless more may be added."""
    if not _grows():
        placement.check(nodes(), demands(spec))


def demands(spec: Spec) -> list[Demand]:
    """Return what a spec's teacher and its trials take of a cluster."""
    sections = (("teacher", spec.resources.teacher), ("trial", spec.resources.trial))
    return [
        Demand(name=name, workers=max(1, asked.workers), cpus=asked.cpus, gpus=asked.gpus) for name, asked in sections
    ]  # fmt: skip


def nodes() -> list[Node]:
    """Return the nodes of the connected cluster; without a connection, this machine as Ray would count it."""
    if ray.is_initialized():
        return placement.nodes_of(ray.nodes())
    return [Node(cpus=get_num_cpus(), gpus=torch.cuda.device_count())]


def _grows() -> bool:
    """Return whether the cluster has an autoscaler that may add nodes."""
    config = ray._private.state.state.get_cluster_config()
    return config is not None and any(group.max_count for group in config.node_group_configs)
