"""The Ray cluster of a sweep: the connection, and the check of its resources."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from tutelage.errors import UnreachableError
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec.spec import Spec


@contextmanager
def cluster(address: str | None, events: Dispatcher) -> Iterator[None]:
    """Connect to Ray within a block, unless this process is already connected."""
    if ray.is_initialized():
        yield
        return
    events.stage("starting Ray on this machine" if address is None else f"connecting to Ray at {address}")
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UnreachableError(f"Ray at {address or 'this machine'} cannot be reached: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_resources(spec: Spec, address: str | None) -> None:
    """Raise `UnreachableError` if a job needs more resources than this machine has; a cluster is not checked, it may grow."""
    if address is not None:
        return
    held = ray.cluster_resources()
    teacher, trial = spec.resources.teacher, spec.resources.trial
    for what, workers, asked in (("teacher", teacher.workers, teacher), ("trial", max(1, trial.workers), trial)):
        for name, amount in (("CPU", asked.cpus * workers), ("GPU", asked.gpus * workers)):
            if amount > held.get(name, 0):
                raise UnreachableError(
                    f"resources.{what} asks for {amount:g} {name}s and this machine has {held.get(name, 0):g}. "
                    f"Ask for less, or give a cluster with --address."
                )
