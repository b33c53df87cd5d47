"""The Ray cluster of a sweep: the connection, and the check of its resources."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import psutil
import ray
import torch
from ray._private import ray_constants
from ray._private.utils import get_num_cpus

from tutelage import environment, placement, plugins, signals
from tutelage.errors import UnreachableError
from tutelage.placement import Demand, Node
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec.spec import Spec
from tutelage.training import spare_processes

WORKERS_END_S = 1.0  # until the workers of a cluster that has ended are killed


@contextmanager
def cluster(address: str | None, events: Dispatcher, spec: Spec | None = None) -> Iterator[None]:
    """Connect to Ray within a block, unless this process is already connected.

    A cluster that starts here has processes that are ready for the trials of `spec`. SIGINT, SIGTERM and SIGHUP are
    exceptions in the block (see `signals`).
    """
    if ray.is_initialized():
        with signals.raised():
            yield
        return
    events.stage("starting Ray on this machine" if address is None else f"connecting to Ray at {address}")
    is_own = address is None and "RAY_ADDRESS" not in os.environ
    with signals.raised(), _prepared(spec) if spec and is_own else nullcontext():
        try:
            _connect(address)
            if spec:
                spare_processes.start(trials_at_once(spec, nodes()))
            yield
        finally:
            with signals.deferred():
                _disconnect()


def _connect(address: str | None) -> None:
    """Connect; the handler of SIGTERM, which ray.init replaces by one that exits with 15, is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address or "RAY_ADDRESS" in os.environ:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start()
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UnreachableError(f"Ray at {address or 'this machine'} cannot be reached: {error}") from error
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            signals.stop(signal.SIGTERM)
        raise
    finally:
        signals.put_back(signal.SIGTERM, handler)


def _disconnect() -> None:
    """Disconnect; the workers of a cluster that started here end with it.

    A worker learns that its cluster has ended only when it has imported everything, which takes seconds.
    """
    workers = _workers()
    signals.keep_handlers(ray.shutdown)
    _, left = psutil.wait_procs(workers, timeout=WORKERS_END_S)
    for worker in left:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def _workers() -> list[psutil.Process]:
    """Return the processes that the cluster has started, if it was started by this process; those of others are not seen."""
    node = ray._private.worker._global_node
    started: list[Any] = node.all_processes.get(ray_constants.PROCESS_TYPE_RAYLET, []) if node else []
    with suppress(psutil.NoSuchProcess):
        return [worker for raylet in started for worker in psutil.Process(raylet.process.pid).children(recursive=True)]
    return []


def _start() -> None:
    """Start Ray on this machine for this process alone: it listens on the loopback interface, and ends soon after a kill.

    On macOS and Windows Ray does the former by default, by the setting that is changed here. Its agents would otherwise wait
    a minute for the head of a driver that was killed.
    """
    clustered = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment.set_to({"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clustered


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
