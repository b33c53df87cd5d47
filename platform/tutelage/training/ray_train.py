"""A function run through Ray Train: in the calling process, in a process of the cluster, or in a worker group.

A student that fits one device runs in Ray Train's local mode, inside the calling process: no process is started, so the
overhead is milliseconds. A job of one worker runs in local mode in a process of the cluster, which keeps its imports for the
next such job. The same function runs in a worker group if there are several workers.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer

from tutelage import placement, signals, worker_loss
from tutelage.networks import process_state
from tutelage.placement import Demand

logger = logging.getLogger(__name__)

T = TypeVar("T")

GROUP_SETTINGS = {
    # The controller reads one report of a worker per poll. The default interval, 2 s, is longer than many epochs.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # The watcher only warns of a lost worker, and is one more process. A job continues from its last epoch anyway.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

ABORT_S = 5.0  # time for a worker group to end itself before it is killed

LOSSES = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorDiedError,
)


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The resources of a job: the number of workers (0: the calling process), and the CPUs and GPUs of each."""

    workers: int
    cpus: float
    gpus: float


HERE = Workers(workers=0, cpus=0, gpus=0)


class _Trainer(TorchTrainer):
    """Ray Train's trainer without its handler of SIGINT, which ends the driver with exit code 1: the interrupt is raised."""

    _controller: Any = None

    def _register_sigint_handler(self, controller: Any) -> None:
        self._controller = controller

    def abort(self) -> None:
        """End the worker group of a `fit` that was left by an exception."""
        if self._controller is not None:
            with suppress(ray.exceptions.RayError):
                ray.get(self._controller.abort.remote(), timeout=ABORT_S)
            ray.kill(self._controller)


def fit(function: Callable[[], T], workers: Workers, *, max_losses: int = 0) -> T:
    """Run `function` through Ray Train and return the first worker's value.

    After the loss of a worker, `function` is run again, up to `max_losses` times. Raises `ray.exceptions.RayError` from one
    worker, `ray.train.TrainingFailedError` from several, and the function's own exceptions from the calling process.
    """
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    if workers.workers == 0:
        return _fit_here(function)
    demand = Demand(name="", workers=workers.workers, cpus=workers.cpus, gpus=workers.gpus)
    if said := placement.waits_for(placement.nodes_of(ray.nodes()), ray.available_resources(), demand):
        logger.warning(said)
    return (_fit_in_a_process if workers.workers == 1 else _fit_in_a_group)(function, workers, max_losses)


def _fit_here(function: Callable[[], T]) -> T:
    trainer: Any = TorchTrainer
    with process_state.preserved():
        value: T = trainer(function, scaling_config=train.ScalingConfig(num_workers=0)).fit().return_value
    return value


def _fit_in_a_process(function: Callable[[], T], workers: Workers, max_losses: int) -> T:
    """Run `function` in a process of the cluster.

    A worker group, even of one, is six processes (controller, placement group cleaner, preemption watcher, autoscaling
    coordinator, synchronisation actor and worker). Each of them imports Ray Train, and all of them end with the job.
    """
    held = ray.put(function)
    # "DEFAULT": outside the placement group of the calling process, if it is in one
    options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_retries": 0, "scheduling_strategy": "DEFAULT"}
    task = _in_process.options(**options)
    for losses in count():
        running = task.remote([held], max(1, int(workers.cpus)))
        try:
            value: T = ray.get(running)
            return value
        except LOSSES as error:
            if losses == max_losses:
                raise
            logger.warning(f"A job is run again: {worker_loss.reason(str(error))}. It continues after its last finished epoch.")
        except BaseException:
            ray.cancel(running, force=True)
            raise
    raise AssertionError("the loop ends with a value or an exception")


@ray.remote
def _in_process(held: list[Any], num_threads: int) -> Any:
    torch.set_num_threads(num_threads)
    return fit(ray.get(held[0]), HERE)


def _fit_in_a_group(function: Callable[[], T], workers: Workers, max_losses: int) -> T:
    for name, setting in GROUP_SETTINGS.items():
        os.environ.setdefault(name, setting)
    scaling = train.ScalingConfig(
        num_workers=workers.workers,
        use_gpu=workers.gpus > 0,
        resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
    )
    with tempfile.TemporaryDirectory() as scratch:
        losses = train.FailureConfig(max_failures=max_losses)
        run = train.RunConfig(storage_path=scratch, failure_config=losses)
        trainer: Any = _Trainer(function, scaling_config=scaling, run_config=run)  # type: ignore[arg-type]
        try:
            value: T = trainer.fit().return_value
        except signals.STOPS:
            with signals.deferred():
                trainer.abort()
            raise
    return value


def is_loss(error: BaseException) -> bool:
    """Return whether an exception of `fit` means that a worker was lost, and not that the function raised."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", None) or {0: error}
    return any(isinstance(getattr(failure, "failure", failure), LOSSES) for failure in failures.values())


def cause_of(error: BaseException) -> str:
    """Return the first worker's error message without Ray's wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    inner = next(iter(failures.values()), error)
    cause = getattr(inner, "cause", None) or inner
    return worker_loss.reason(str(cause)) if isinstance(cause, LOSSES) else f"{type(cause).__name__}: {cause}"


def workers_of(resources: Any) -> Workers:
    """Return a job's workers from its section of the spec."""
    return Workers(workers=resources.workers, cpus=resources.cpus, gpus=resources.gpus)
