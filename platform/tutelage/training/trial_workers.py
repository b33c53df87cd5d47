"""A student's training in workers of its own: the trial's actor commands, the workers train an epoch at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import ray
from ray import train
from ray.train.torch import get_device

from tutelage.errors import WorkFailed
from tutelage.records.trial import WorkersLost
from tutelage.training.loop import Training
from tutelage.training.packing import to_bytes
from tutelage.training.ray_train import Workers, cause_of, fit, is_loss

POLL_S = 0.5  # between two looks whether the workers are still there
END_S = 10.0  # for workers to end by themselves

COMMANDS: dict[str, Callable[[Training], Any]] = {
    "epoch": Training.epoch,
    "state": lambda training: to_bytes(training.state()),
    "final_state": lambda training: to_bytes(training.final_state()),
}


class _Mailbox:
    """The commands to a trial's workers, and what the first of them returns, each by its position from 0."""

    def __init__(self) -> None:
        self._commands: list[str] = []
        self._results: list[Any] = []
        self._changed = asyncio.Condition()

    async def send(self, command: str) -> None:
        async with self._changed:
            self._commands.append(command)
            self._changed.notify_all()

    async def put(self, result: Any) -> None:
        async with self._changed:
            self._results.append(result)
            self._changed.notify_all()

    async def command(self, position: int) -> str:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._commands) > position)
        return self._commands[position]

    async def result(self, position: int) -> Any:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._results) > position)
        found, self._results[position] = self._results[position], None
        return found


class TrialWorkers:
    """Workers that train copies of one student in step, with the same seeds; what the first one returns is the result.

    Every worker computes the whole batch, because losses that compare the examples of a batch are others on a part of it.
    """

    def __init__(self, training: Training, workers: Workers) -> None:
        # "DEFAULT": the trial's actor is in a placement group, which has no room for what the actor starts.
        self._mailbox: Any = ray.remote(num_cpus=0)(_Mailbox).options(scheduling_strategy="DEFAULT").remote()
        self._training, self._workers, self._num_results = training, workers, 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tutelage-trial-workers", daemon=True)
        self._thread.start()

    def ask(self, command: str) -> Any:
        """Return the result of one of `COMMANDS`.

        Raises `WorkersLost` if a worker has died, `WorkFailed` if the training failed.
        """
        self._mailbox.send.remote(command)
        result = self._mailbox.result.remote(self._num_results)
        self._num_results += 1
        while not ray.wait([result], timeout=POLL_S)[0]:
            if not self._thread.is_alive():
                raise self._failure()
        return ray.get(result)

    def close(self) -> None:
        """End the workers."""
        self._mailbox.send.remote("end")
        self._thread.join(END_S)
        ray.kill(self._mailbox)

    def _run(self) -> None:
        training, mailbox = self._training, self._mailbox
        try:
            fit(lambda: _serve(training, mailbox), self._workers)
        except Exception as error:  # it is raised by `ask`, in the thread of the trial
            self._error = error

    def _failure(self) -> Exception:
        error = self._error or RuntimeError("the workers have ended")
        kind = WorkersLost if is_loss(error) else WorkFailed
        failure = kind(f"{self._workers.workers} workers of the trial: {cause_of(error)}")
        failure.__cause__ = error
        return failure


def _serve(training: Training, mailbox: Any) -> None:
    """Follow the commands in a worker, until the one to end."""
    training.to(get_device())
    is_first = train.get_context().get_world_rank() == 0
    for position in count():
        command = ray.get(mailbox.command.remote(position))
        if command == "end":
            return
        result = COMMANDS[command](training)
        if is_first:
            ray.get(mailbox.put.remote(result))
