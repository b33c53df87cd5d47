"""The Ray cluster of a sweep: the connection, and the check of its resources."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import torch
from ray._private import ray_constants
from ray._private.utils import get_num_cpus

from tutelage import environment, placement, signals
from tutelage.errors import UnreachableError
from tutelage.placement import Demand, Node
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec.spec import Spec


@contextmanager
def cluster(address: str | None, events: Dispatcher) -> Iterator[None]:
    """Connect to Ray within a block, unless this process is already connected.

    SIGINT, SIGTERM and SIGHUP are exceptions in the block (see `signals`).
    """
    if ray.is_initialized():
        with signals.raised():
            yield
        return
    events.stage("starting Ray on this machine" if address is None else f"connecting to Ray at {address}")
    with signals.raised():
        try:
            _connect(address)
            yield
        finally:
            with signals.deferred():
                ray.shutdown()


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
