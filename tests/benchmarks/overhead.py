"""Where a sweep's seconds go: our trials beside the recipes that Ray's documentation teaches, on the same two slots.

    python tests/benchmarks/overhead.py [--json] [--only ours-5s …]

Every trial "trains" by sleeping in steps, so that its training seconds are known and cost no processor. Each kind runs in
a process of its own. Sweep efficiency is training seconds ÷ (slots × wall seconds from first trial start to last trial
end); overhead a trial is the wall seconds outside training, over both slots, for each trial.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke

SLOTS = 2
KINDS: dict[str, tuple[str, int, float, int]] = {  # name → (recipe, trials, seconds a trial, epochs)
    "ours, 5 s": ("ours", 24, 5.0, 10),
    "ours, 1 s": ("ours", 200, 1.0, 5),
    "function trainable, reused actors, 1 s": ("function-reused", 40, 1.0, 5),
    "function trainable, 1 s": ("function", 20, 1.0, 5),
    "TorchTrainer in the trial, 5 s": ("torch-trainer", 6, 5.0, 10),
}


class Sleeping:
    """A trial of known length, opened in an actor as a student is; it reports when it started and ended."""

    def __init__(self, trial_id: str, config: dict[str, Any]) -> None:
        self.config, self.epoch, self.opened_s = config, 0, time.time()
        self.curve: list[dict[str, float]] = []

    def step(self) -> dict[str, Any]:
        from tutelage.training import ray_train

        ray_train.fit(
            lambda: time.sleep(self.config["seconds"] / self.config["epochs"]), ray_train.Workers(workers=0, cpus=1, gpus=0)
        )
        self.epoch += 1
        row: dict[str, Any] = {"epoch": self.epoch, "train_loss": 0.1, "accuracy": 0.5, "step_s": 0.0}
        self.curve.append({**row})
        row["done"] = self.epoch == self.config["epochs"]
        if row["done"]:
            row["measures"] = {"accuracy": 0.5, "params": 1.0, "opened_s": self.opened_s, "ended_s": time.time()}
        return row

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.curve))

    def restore(self, path: Path) -> None:
        self.curve = json.loads(path.read_text())
        self.epoch = len(self.curve)

    def close(self) -> None:
        pass


def ours(trials: int, seconds: float, epochs: int, storage: Path) -> list[tuple[float, float]]:
    """The whole driver side: TPE over five hyperparameters, the ledger with fsync, and MLflow on SQLite."""
    from tutelage.measures.accuracy import MEASURE as ACCURACY
    from tutelage.objectives import Limits, objective
    from tutelage.records.json_lines import JsonLines
    from tutelage.records.ledger import Ledger
    from tutelage.records.tracker import Tracker
    from tutelage.records.trial import Sizes, TrialRecord
    from tutelage.search import ray_tune
    from tutelage.search.sampler import Sampler
    from tutelage.search.suggest import Callbacks, Goal, Suggester
    from tutelage.spec.distributions import parse
    from tutelage.spec.space import Space
    from tutelage.storage import open_storage

    space = Space(parse({**{f"x{i}": {"float": [0, 1]} for i in range(5)}, "seconds": seconds, "epochs": epochs}))
    objectives = (objective("accuracy"), objective("params"))
    ledger = Ledger(JsonLines(open_storage(storage), "trials.jsonl"))
    tracker = Tracker(f"sqlite:///{storage / 'mlflow.db'}", "overhead")
    sampler = Sampler(space, len(objectives), "tpe", 0, journal=storage / "study.journal")
    callbacks = Callbacks(presize=lambda config: Sizes(), on_started=ledger.append, on_ended=ledger.append)
    suggester = Suggester(sampler, Goal(objectives=objectives, limits=Limits(), learned=ACCURACY), callbacks, trials)
    tracker.start_sweep("overhead", {}, space.names(), {})
    spans: list[tuple[float, float]] = []

    def on_record(record: TrialRecord) -> None:
        assert record.state == "finished", record.error
        suggester.learn(record)
        ledger.append(record)
        tracker.log_trial(record, "front", space.names(), {})
        spans.append((record.measures["opened_s"], record.measures["ended_s"]))

    slots = ray_tune.Slots(cpus=1, gpus=0, concurrency=None)
    handlers = ray_tune.Handlers(next_suggestion=suggester.next, on_record=on_record)
    ray_tune.run(Sleeping, handlers, slots, storage / "overhead")
    tracker.close()
    return spans


def _stock(trainable: Any, trials: int, storage: Path, *, reuse_actors: bool, cpus: float) -> list[tuple[float, float]]:
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(
        space={f"x{i}": tune.uniform(0, 1) for i in range(5)}, metric=["accuracy", "params"], mode=["max", "min"]
    )
    results: Any = tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus}),
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=trials, max_concurrent_trials=SLOTS, reuse_actors=reuse_actors
        ),
        run_config=tune.RunConfig(storage_path=str(storage), name="stock", verbose=0),
    ).fit()
    return [(result.metrics["opened_s"], result.metrics["ended_s"]) for result in results]


def function_trainable(
    trials: int, seconds: float, epochs: int, storage: Path, reuse_actors: bool
) -> list[tuple[float, float]]:
    """A plain function that reports, as Ray Tune's first page shows it."""

    def train(config: dict[str, Any]) -> None:
        from ray import tune

        opened_s = time.time()
        for _ in range(epochs):
            time.sleep(seconds / epochs)
            tune.report({"accuracy": 0.5, "params": 1.0, "opened_s": opened_s, "ended_s": time.time()})

    return _stock(train, trials, storage, reuse_actors=reuse_actors, cpus=1)


def torch_trainer(trials: int, seconds: float, epochs: int, storage: Path) -> list[tuple[float, float]]:
    """A trial that fits a TorchTrainer of one worker, as Ray's guide to tuning Ray Train shows it."""

    def loop(config: dict[str, Any]) -> None:
        from ray import train

        opened_s = time.time()
        for _ in range(epochs):
            time.sleep(seconds / epochs)
            train.report({"accuracy": 0.5, "params": 1.0, "opened_s": opened_s, "ended_s": time.time()})

    def driver(config: dict[str, Any]) -> None:
        from ray import train, tune
        from ray.train.torch import TorchTrainer
        from ray.tune.integration.ray_train import TuneReportCallback

        name, callbacks = f"trial-{tune.get_context().get_trial_id()}", list[Any]([TuneReportCallback()])
        TorchTrainer(
            loop,
            scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=train.RunConfig(name=name, storage_path=str(storage), callbacks=callbacks),
        ).fit()

    return _stock(driver, trials, storage, reuse_actors=False, cpus=0.01)


def measured(kind: str, *, is_smoke: bool) -> dict[str, Any]:
    """Run one kind here and return its figures."""
    import ray

    recipe, trials, seconds, epochs = KINDS[kind]
    if is_smoke:
        trials, seconds, epochs = 1, 0.1, 1
    runs: dict[str, Callable[[Path], list[tuple[float, float]]]] = {
        "ours": lambda storage: ours(trials, seconds, epochs, storage),
        "function": lambda storage: function_trainable(trials, seconds, epochs, storage, False),
        "function-reused": lambda storage: function_trainable(trials, seconds, epochs, storage, True),
        "torch-trainer": lambda storage: torch_trainer(trials, seconds, epochs, storage),
    }
    is_shared = smoke.is_shared()
    if not is_shared:
        ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        started_s = time.time()
        spans = runs[recipe](Path(scratch))
        wall_s = time.time() - started_s
    if not is_shared:
        ray.shutdown()
    first_s, last_s = min(start for start, _ in spans), max(end for _, end in spans)
    span_s, training_s = last_s - first_s, trials * seconds
    return {
        "kind": kind,
        "trials": trials,
        "start to end, s": span_s,
        "with start-up, s": wall_s,
        "overhead, s a trial": (SLOTS * span_s - training_s) / trials,
        "efficiency": training_s / (SLOTS * span_s),
    }


def in_a_process(kind: str, *, is_smoke: bool) -> dict[str, Any]:
    """Run one kind in a process of its own and return its figures."""
    environment = {**os.environ, "RAY_AIR_NEW_OUTPUT": "0"}
    command = [sys.executable, __file__, "--one", kind, *["--smoke"] * is_smoke]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = smoke.Parser(__doc__)
    parser.add_argument("--only", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--one", choices=list(KINDS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, is_smoke=options.smoke)))
        return
    rows = []
    for kind in options.only:
        rows.append(measured(kind, is_smoke=True) if smoke.is_shared() else in_a_process(kind, is_smoke=options.smoke))
    machine.show(f"Overhead of a trial on {SLOTS} slots", rows, as_json=options.json)


if __name__ == "__main__":
    main()
