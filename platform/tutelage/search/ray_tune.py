"""The Ray Tune side: trainable, searcher and callback. The one place that imports ray.tune.

It moves configs to actors and results back. What to try, and what a result means, its `Handlers` decide.
Actors are reused from trial to trial, so that interpreter, torch, data and knowledge stay warm.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tutelage import environment, placement, signals
from tutelage.placement import Demand
from tutelage.records.trial import Candidate, State, Suggestion, TrialRecord
from tutelage.search.gate import Gate
from tutelage.search.ray_trial import STATE, StartTrial, StudentTrainable
from tutelage.search.stopping import Decision

MAX_PENDING = 200  # trials drawn ahead of the actors that run them, at most


@dataclass(frozen=True, kw_only=True)
class Slots:
    """What a trial takes of the cluster, how many run at once (None: as many as fit), and its safety net.

    `cpus` and `gpus` are of the trial's actor, or of each of its `workers`, which it starts as a group beside the actor.
    A checkpoint every `checkpoint_epochs` (0: none) is where a trial continues after its worker was lost, at most
    `max_failures` times.
    """

    cpus: float
    gpus: float
    concurrency: int | None
    workers: int = 0
    checkpoint_epochs: int = 0
    max_failures: int = 2

    def count(self) -> int:
        """Return how many trials run at once on the cluster as it is now, each of them with all that it takes."""
        demand = Demand(name="trial", workers=max(1, self.workers), cpus=self.cpus, gpus=self.gpus)
        fitting = placement.jobs_at_once(placement.nodes_of(ray.nodes()), demand)
        return max(1, min(fitting, self.concurrency or MAX_PENDING))

    @property
    def of_actor(self) -> dict[str, float]:
        """What the trial's actor takes; where workers train, a byte of memory: Tune places no actor that takes nothing."""
        return {"memory": 1.0} if self.workers else {"cpu": self.cpus, "gpu": self.gpus}


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """After which `epochs` a trial is judged: `judge(suggestion, row)` is called once at each rung.

    Where trials are `pausing`, their state is kept at every rung. One that is paused is recorded so, leaves its worker, and
    continues from there when `next_suggestion` gives its suggestion again.
    """

    epochs: frozenset[int] = frozenset()
    judge: Callable[[Suggestion, dict[str, Any]], Decision] = lambda suggestion, row: "go_on"
    pausing: bool = False


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """What a search decides in the driver: the next suggestion (None: no more, or none yet), and what a record leads to.

    `on_record` is called once for each trial that ends and each time that one is paused, `on_epoch` with a trial's name and
    an epoch's row.
    """

    next_suggestion: Callable[[], Suggestion | None]
    on_record: Callable[[TrialRecord], None]
    on_epoch: Callable[[str, dict[str, Any]], None] = lambda trial_id, row: None


@dataclass
class _TrialFeed:
    """Which suggestion each of Tune's trials runs, and the epochs it has reported."""

    handlers: Handlers
    rungs: Rungs
    suggestions: dict[str, Suggestion] = field(default_factory=dict)
    home: Path = Path()
    rows: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    spent_s: dict[int, float] = field(default_factory=dict)  # by trials before they were paused

    def checkpoints(self, suggestion: Suggestion) -> list[str]:
        """Return where an earlier driver left the trial's state, the latest first."""
        name = suggestion.trial_id
        if not (self.home / name).exists():  # it never ran; a directory of many trials is not looked through for it
            return []
        # Tune adds a suffix to the name of a directory that is there already
        found = [path for own in (name, f"{name}_*") for path in self.home.glob(f"{own}/checkpoint_*/{STATE}")]
        return [str(path.resolve()) for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune nothing to pickle: a sweep is kept in its own ledger and study, and Tune's restore is not used."""
        return {}

    def close(self, tune_id: str, result: dict[str, Any], error: str) -> None:
        """Turn a trial's last result into its record."""
        suggestion = self.suggestions.pop(tune_id)
        rows = self.rows.pop(tune_id, [])
        error = result.get("error", "") or error
        state: State = "failed" if error else "finished" if "measures" in result else "stopped"
        elapsed_s = result.get("elapsed_s", 0.0) + self.spent_s.pop(suggestion.number, 0.0)
        if tune_id in self.paused and not error:
            state, self.spent_s[suggestion.number] = "paused", elapsed_s
        self.handlers.on_record(
            suggestion.record(
                state,
                measures=dict(result.get("measures", {})),
                candidates=tuple(Candidate(**one) for one in result.get("candidates", ())),
                curve=tuple(rows),
                error=error,
                started_s=result.get("started_s", 0.0) or time.time(),
                elapsed_s=elapsed_s,
                step_s=sum(row["step_s"] for row in rows),
            )
        )


class _Searcher(Searcher):
    """Hands out suggestions; learning goes through the callback, which knows a failure from a finished trial."""

    def __init__(self, feed: _TrialFeed) -> None:
        super().__init__()
        self._feed = feed

    def suggest(self, trial_id: str) -> Any:
        suggestion = self._feed.handlers.next_suggestion()
        if suggestion is None:
            return None if self._feed.rungs.pausing and self._feed.suggestions else Searcher.FINISHED  # None: ask again
        self._feed.suggestions[trial_id] = suggestion
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
    def __init__(self, feed: _TrialFeed) -> None:
        self._feed = feed

    def on_trial_result(self, iteration: int, trials: Any, trial: Trial, result: dict[str, Any], **info: Any) -> None:
        rows = result["rows"]
        if rows:
            known = self._feed.rows.setdefault(trial.trial_id, [])
            known[:] = [row for row in known if row["epoch"] < rows[0]["epoch"]] + rows
            self._feed.handlers.on_epoch(self._feed.suggestions[trial.trial_id].trial_id, rows[-1])

    def on_trial_complete(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._feed.close(trial.trial_id, trial.last_result or {}, "")

    def on_trial_error(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        error = trial.error_file and Path(trial.error_file).exists() and Path(trial.error_file).read_text()
        self._feed.close(trial.trial_id, trial.last_result or {}, error or "the trial's worker was lost")


class _Scheduler(FIFOScheduler):
    """First in, first out; a trial that does not continue past a rung ends there, for good or until it is suggested again."""

    def __init__(self, feed: _TrialFeed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._feed = feed
        self._judged: set[tuple[str, int]] = set()  # a trial that was lost comes to its rungs again
        self._controller: Any = None

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._controller = getattr(tune_controller, "_tune_controller", tune_controller)
        super().on_trial_add(tune_controller, trial)

    def release(self) -> None:
        """End the actors of a search that was left by an exception, and give back what they hold of the cluster.

        Tune does neither for an interrupt, and in a notebook the traceback keeps all of it alive.
        """
        if self._controller is not None:
            actors = self._controller._actor_manager
            for actor, _ in list(actors._live_actors_to_ray_actors_resources.values()):
                ray.kill(actor)
            actors._resource_manager.clear()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        at = (trial.trial_id, result.get("epoch", 0))
        if result["done"] or at[1] not in self._feed.rungs.epochs or at in self._judged:
            return TrialScheduler.CONTINUE
        self._judged.add(at)
        verdict = self._feed.rungs.judge(self._feed.suggestions[trial.trial_id], result["rows"][-1])
        if verdict == "pause":
            self._feed.paused.add(trial.trial_id)
        return TrialScheduler.CONTINUE if verdict == "go_on" else TrialScheduler.STOP


def run(
    open_trial: StartTrial, handlers: Handlers, slots: Slots, home: Path, *, rungs: Rungs | None = None,
    time_budget_s: float | None = None,
) -> None:  # fmt: skip
    """Run trials on the connected Ray cluster until there is no further suggestion or the time is up; judge them at `rungs`.

    The handlers are called in this process. Ctrl-C is raised as `KeyboardInterrupt`. Tune's own files go to `home`.
    """
    num_slots, rungs = slots.count(), rungs or Rungs()
    feed = _TrialFeed(handlers=handlers, rungs=rungs, home=home)
    scheduler = _Scheduler(feed)
    gate: Any = ray.remote(num_cpus=0)(Gate).remote(num_slots)
    parameters = tune.with_parameters(
        StudentTrainable, open_trial=open_trial, gate=gate, rungs=rungs.epochs, pausing=rungs.pausing,
        checkpoint_epochs=slots.checkpoint_epochs,
    )  # fmt: skip
    trainable = tune.with_resources(parameters, slots.of_actor)
    with _quiet(num_slots):
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(feed),
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=num_slots if slots.workers else slots.concurrency,
                reuse_actors=True,
                time_budget_s=time_budget_s,
                trial_dirname_creator=lambda trial: str(trial.config["trial_id"]),
            ),
            run_config=tune.RunConfig(
                name=home.name,
                storage_path=str(home.parent.resolve()),
                verbose=0,
                callbacks=[_Callback(feed)],
                failure_config=tune.FailureConfig(max_failures=slots.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=1),
            ),
        )
        try:
            tuner.fit()
        except BaseException:
            with signals.deferred():
                scheduler.release()
            raise
        finally:
            ray.kill(gate)


@contextlib.contextmanager
def _quiet(num_slots: int) -> Iterator[None]:
    """Have Tune hold one trial ahead for each slot, and leave out its own loggers and tables."""
    wanted = {
        "TUNE_MAX_PENDING_TRIALS_PG": str(num_slots),
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with environment.set_to(wanted):
            yield
    finally:
        logger.setLevel(level)
