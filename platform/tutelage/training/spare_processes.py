"""Processes that have imported what a trial needs before a trial needs them, on a cluster that starts here.

A process imports torch, Ray Tune and what reads the data, about three seconds of a core, before it trains anything: at the
start of a search, and after each death of a worker. On a cluster that exists already, `RAY_preload_python_modules` has to be
set where its nodes start; with it in the environment of the driver too, spare processes are started there as well.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any

import ray
from ray.tune.execution.class_cache import _ActorClassCache

PRELOADED = "RAY_preload_python_modules"
MODULES = (
    "tutelage.rare_collections",
    "tutelage.training.student_jobs",
    "ray.tune",
    "torch._dynamo",  # the first step of any optimizer imports it
)

REQUESTED_S = 1.0  # from the request for a process until it has been started; its imports take longer


def settings(at_once: int, reader: Any) -> dict[str, str]:
    """Return the environment variables of a cluster whose processes are ready for trials, of which `at_once` run at once.

    `reader` is the data's plugin; one of the package's own is imported in advance as well, with the libraries that it needs.
    """
    own = (reader.__name__,) if isinstance(reader, ModuleType) else ()
    number = str(at_once + 1)  # with the teacher's, in whose place comes a spare one
    return {
        PRELOADED: ",".join((*MODULES, *own)),
        "RAY_prestart_worker_first_driver": "0",  # one for each CPU, of which a search on GPUs needs few
        "RAY_worker_maximum_startup_concurrency": number,
        "RAY_num_workers_soft_limit": number,  # processes beyond it end when they have been idle for a second
    }


def start(number: int = 1) -> None:
    """Start processes that a later actor can become, unless the cluster's processes import nothing in advance.

    Ray makes an actor only of a process that has run nothing yet, and has no call that starts one. An actor that is ended
    while Ray starts a process for it leaves the process behind.
    """
    if PRELOADED in os.environ and ray.is_initialized():
        nothing: Any = _ActorClassCache().get(_Nothing)  # a process is for actors with one environment, here Tune's
        timer = threading.Timer(REQUESTED_S, _end, [[nothing.options(num_cpus=0).remote() for _ in range(number)]])
        timer.daemon = True
        timer.start()


def _end(actors: list[Any]) -> None:
    """End actors before they exist; each that exists has taken a process that was ready, and another is started for it."""
    with suppress(ray.exceptions.RayError):
        num_taken = 0
        for actor in actors:
            num_taken += ray._private.state.actors(actor._actor_id.hex())["State"] == "ALIVE"
            ray.kill(actor)
        if num_taken:
            start(num_taken)


class _Nothing:
    """An actor that is ended before it exists."""
