"""Ray Tune's side of a search: searcher, scheduler and callback.

It sends configs to actors and returns their results; its `Handlers` decide what is tried and what a result means. Actors are
reused by the next trials, so that interpreter, torch, data and knowledge are loaded once.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tutelage import environment, placement, signals, worker_loss
from tutelage.placement import Demand
from tutelage.search.deaths import MAX_WITHOUT_PROGRESS, Deaths
from tutelage.search.gate import Gate
from tutelage.search.ray_trial import StartTrial, StudentTrainable
from tutelage.search.rules import Decision
from tutelage.search.time_limit import TimeLimit
from tutelage.search.trial_feed import Handlers, Rungs, TrialFeed

__all__ = ["Handlers", "Rungs", "Slots", "run"]

WAIT_S = 30.0  # time without a running trial until a message states what the search waits for
SPARE_TAKEN_S = 2.0  # after a death, until another actor has taken the spare process
MAX_PENDING = 200  # suggestions made ahead of the actors that run them, at most


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The resources of a trial, how many trials run at once (None: as many as fit), and how lost workers are handled.

    `cpus` and `gpus` are for the trial's actor, or for each of its `workers`, which it starts as a group beside the actor.
    A trial whose worker was lost continues from its last checkpoint, written every `checkpoint_epochs` (0: none), at most
    `max_failures` times at the same epoch (see `deaths`).
    """

    cpus: float
    gpus: float
    concurrency: int | None
    workers: int = 0
    checkpoint_epochs: int = 0
    max_failures: int = 5

    def count(self) -> int:
        """Return how many trials run at once on the present cluster."""
        fitting = placement.jobs_at_once(placement.nodes_of(ray.nodes()), self.demand)
        return max(1, min(fitting, self.concurrency or MAX_PENDING))

    @property
    def demand(self) -> Demand:
        """The resources of a trial, its workers included."""
        return Demand(name="trial", workers=max(1, self.workers), cpus=self.cpus, gpus=self.gpus)

    @property
    def of_actor(self) -> dict[str, float]:
        """The resources of the trial's actor; where workers train, a byte of memory: Tune places no actor without resources."""
        return {"memory": 1.0} if self.workers else {"cpu": self.cpus, "gpu": self.gpus}


class _Searcher(Searcher):
    """Passes suggestions to Tune. Results go through the callback, which distinguishes a failed trial from a finished one."""

    def __init__(self, feed: TrialFeed, on_none: Callable[[], None]) -> None:
        super().__init__()
        self._feed, self._on_none = feed, on_none

    def suggest(self, trial_id: str) -> Any:
        suggestion = self._feed.suggest(trial_id)
        if suggestion is None:
            self._on_none()
            return None if self._feed.rungs.pausing and self._feed.suggestions else Searcher.FINISHED  # None: ask again
        return {
            "trial_id": suggestion.trial_id,
            "config": suggestion.config,
            "checkpoints": self._feed.checkpoints(suggestion),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        return None

    def save(self, checkpoint_path: str) -> None:
        return None

    def restore(self, checkpoint_path: str) -> None:
        return None


class _Callback(tune.Callback):
    """Receives the results and ends of trials, and sets whether the next death of a worker would fail its trial."""

    def __init__(self, feed: TrialFeed, slots: Slots) -> None:
        self._feed, self._deaths, self._demand = feed, Deaths(slots.max_failures), slots.demand
        self._running: dict[str, Trial] = {}
        self._waits_since_s, self._has_result = time.monotonic(), False
        self._spare_due_s = math.inf

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        if time.monotonic() >= self._spare_due_s:
            self._spare_due_s = math.inf
            self._feed.handlers.keep_spare()
        if self._running:
            self._waits_since_s = time.monotonic()
        elif time.monotonic() - self._waits_since_s > WAIT_S:
            self._waits_since_s = time.monotonic()
            nodes, free = placement.nodes_of(ray.nodes()), ray.available_resources()
            self._feed.handlers.on_news(
                f"no trial could start for {WAIT_S:g} s: one takes {self._demand.text()}; "
                f"there {placement.describe(nodes)}, of which {placement.free_text(free)}"
            )

    def on_trial_start(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._deaths.started(trial.trial_id)
        self._running[trial.trial_id] = trial
        self._set_limits()

    def on_trial_result(self, iteration: int, trials: Any, trial: Trial, result: dict[str, Any], **info: Any) -> None:
        if not self._has_result:
            self._has_result, self._spare_due_s = True, time.monotonic()
        self._feed.report(trial.trial_id, result)
        if "epoch" in result:
            self._deaths.reported(trial.trial_id, result["epoch"])
            self._set_limits()

    def on_trial_recover(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._spare_due_s = time.monotonic() + SPARE_TAKEN_S
        place = f"continues after epoch {_kept_epoch(trial)}" if _kept_epoch(trial) else "starts again"
        self._feed.handlers.on_news(f"{self._lost(trial)}; it {place}")
        self._feed.handlers.on_retry(self._feed.suggestions[trial.trial_id].trial_id)
        self._deaths.died(trial.trial_id, time.monotonic())
        self._running[trial.trial_id] = trial
        self._set_limits()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._end(trial, "")

    def on_trial_error(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        count = self._deaths.count(trial.trial_id) + 1
        again = f"; it was lost {count} times without getting further" if count > 1 else ""
        self._end(trial, f"{_error_text(trial)}\n{self._lost(trial)}{again}".strip())

    def _lost(self, trial: Trial) -> str:
        """Return which trial has lost its worker, why, and when, in words."""
        name, latest = self._feed.suggestions[trial.trial_id].trial_id, _error_text(trial).rpartition("Failure # ")[2]
        epoch = (trial.last_result or {}).get("epoch", 0)
        return f"{name}: {worker_loss.reason(latest)} " + (f"after epoch {epoch}" if epoch else "in its first epoch")

    def _end(self, trial: Trial, error: str) -> None:
        self._deaths.ended(trial.trial_id)
        self._running.pop(trial.trial_id, None)
        self._feed.close(trial.trial_id, error)

    def _set_limits(self) -> None:
        """Let Tune recover each trial from one more death, or from none: Tune itself counts all deaths alike."""
        for trial in self._running.values():
            trial.max_failures = trial.num_failures + (not self._deaths.fails_next(trial.trial_id))


def _error_text(trial: Trial) -> str:
    """Return what Tune has written of all errors of a trial; "" if it has written nothing."""
    path = Path(trial.error_file) if trial.error_file else None
    return path.read_text() if path and path.exists() else ""


def _kept_epoch(trial: Trial) -> int:
    """Return the epoch of a trial's last checkpoint; 0 if it has none."""
    kept = trial.latest_checkpoint_result
    return int(kept.metrics.get("epoch", 0)) if kept and kept.metrics else 0


class _Scheduler(FIFOScheduler):
    """First in, first out. A trial that does not continue past a rung ends there, for good or until it is suggested again."""

    def __init__(self, feed: TrialFeed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._feed = feed
        self._decisions: dict[tuple[str, int], Decision] = {}  # a trial whose worker was lost reaches its rungs again
        self._controller: Any = None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._controller = getattr(tune_controller, "_tune_controller", tune_controller)
        super().on_trial_add(tune_controller, trial)

    def release(self) -> None:
        """End the actors of a search that an exception ended, and release their resources.

        Tune does neither for an interrupt, and in a notebook the traceback would keep both.
        """
        if self._controller is not None:
            actors = self._controller._actor_manager
            for actor, _ in list(actors._live_actors_to_ray_actors_resources.values()):
                ray.kill(actor)
            actors._resource_manager.clear()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        at = (trial.trial_id, result.get("epoch", 0))
        if result["done"] or at[1] not in self._feed.rungs.epochs:
            return TrialScheduler.CONTINUE
        if at not in self._decisions:
            self._decisions[at] = self._feed.rungs.judge(self._feed.suggestions[trial.trial_id], result["rows"][-1])
        if self._decisions[at] == "pause":
            self._feed.paused.add(trial.trial_id)
        return TrialScheduler.CONTINUE if self._decisions[at] == "continue" else TrialScheduler.STOP


def run(
    open_trial: StartTrial, handlers: Handlers, slots: Slots, home: Path, *, rungs: Rungs | None = None,
    time_budget_s: float | None = None,
) -> None:  # fmt: skip
    """Run trials on the connected Ray cluster until there is no further suggestion or the time has passed; judge them at
    `rungs`.

    The handlers are called in this process. Ctrl-C is raised as `KeyboardInterrupt`. Tune's own files go to `home`.
    """
    num_slots, rungs = slots.count(), rungs or Rungs()
    feed = TrialFeed(handlers=handlers, rungs=rungs, home=home)
    scheduler = _Scheduler(feed)
    gate = Gate(num_slots)
    parameters = tune.with_parameters(
        StudentTrainable, open_trial=open_trial, gate=gate, rungs=rungs.epochs, pausing=rungs.pausing,
        checkpoint_epochs=slots.checkpoint_epochs,
    )  # fmt: skip
    config = tune.TuneConfig(
        search_alg=_Searcher(feed, lambda: gate.expect(feed.num_suggested)),
        scheduler=scheduler,
        num_samples=-1,
        max_concurrent_trials=num_slots if slots.workers else slots.concurrency,
        reuse_actors=True,
        trial_dirname_creator=lambda trial: str(trial.config["trial_id"]),
    )
    trainable = tune.with_resources(parameters, slots.of_actor)
    with _quiet(num_slots):
        tuner = tune.Tuner(trainable, tune_config=config, run_config=_run_config(home, _Callback(feed, slots), time_budget_s))
        try:
            tuner.fit()
            feed.cut()
        except BaseException:
            with signals.deferred():
                scheduler.release()
            raise
        finally:
            gate.remove()


def _run_config(home: Path, callback: _Callback, time_budget_s: float | None) -> tune.RunConfig:
    return tune.RunConfig(
        name=home.name,
        storage_path=str(home.parent.resolve()),
        verbose=0,
        callbacks=[callback],
        stop=None if time_budget_s is None else TimeLimit(time_budget_s),
        failure_config=tune.FailureConfig(max_failures=MAX_WITHOUT_PROGRESS),  # until the callback decides
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=1),
    )


@contextlib.contextmanager
def _quiet(num_slots: int) -> Iterator[None]:
    """Have Tune hold one trial ahead for each slot, and leave out its loggers, its tables and the errors on record."""
    wanted = {
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_MAX_PENDING_TRIALS_PG": str(num_slots),
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    logger, summary = logging.getLogger("ray.tune"), logging.getLogger("ray.tune.tune")
    level = logger.level
    logger.setLevel(logging.ERROR)
    summary.addFilter(_is_news)
    try:
        with environment.set_to(wanted):
            yield
    finally:
        logger.setLevel(level)
        summary.removeFilter(_is_news)


def _is_news(logged: logging.LogRecord) -> bool:
    """Return whether a line of Tune's has more than the names of failed trials."""
    return not str(logged.msg).startswith("Trials did not complete")
