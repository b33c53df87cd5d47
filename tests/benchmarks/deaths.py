"""What the death of a worker costs a sweep: the seconds that a search takes longer for each worker that was killed.

    python tests/benchmarks/deaths.py [--json] [--runs 3] [--deaths 4] [--every 4]

Each run is a pair of sweeps of digits with one seed, one undisturbed and one in which a worker that trains is killed every few
seconds. Each sweep has a process and a cluster of its own. Its seconds are those from the first epoch of its search to the end
of its last student, so the start of a sweep is not among them. A pair whose students differ is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke


class Killer:
    """An observer that kills workers from the first epoch of a search on, and keeps when the search started and ended.

    `deaths` workers are killed, one every `every_s` seconds, each chosen by `seed` from those that train.
    """

    def __init__(self, deaths: int, every_s: float, seed: int) -> None:
        self.deaths, self.every_s, self.killed = deaths, every_s, set[int]()
        self.times_s: list[float] = []
        self._choice, self._ended = random.Random(seed), threading.Event()

    def __call__(self, event: Any) -> None:
        from tutelage.records.observer import EpochEnded, SweepEnded, TrialEnded

        if isinstance(event, EpochEnded) and not self.times_s and self.deaths:
            threading.Thread(target=self._kill, daemon=True).start()
        if isinstance(event, EpochEnded | TrialEnded):
            self.times_s.append(event.unix_time_s)
        if isinstance(event, SweepEnded):
            self._ended.set()

    def _kill(self) -> None:
        while len(self.killed) < self.deaths and not self._ended.wait(self.every_s):
            if training := sorted(set(workers()) - self.killed):
                victim = self._choice.choice(training)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    self.killed.add(victim)


def workers() -> list[int]:
    """Return the ids of the processes of this cluster that run trials."""
    import ray

    actors = ray._private.state.actors().values()
    return [actor["Pid"] for actor in actors if actor["State"] == "ALIVE" and "Trainable" in actor["ActorClassName"]]


def measured(options: argparse.Namespace, deaths: int, seed: int) -> dict[str, Any]:
    """Run one sweep here; return its seconds, the workers that were killed, and its students with their accuracy."""
    from tutelage.spec import loading
    from tutelage.sweep import pipeline

    killer = Killer(deaths, options.every, seed)
    with tempfile.TemporaryDirectory() as storage:
        spec: dict[str, Any] = {
            "name": "deaths", "storage": storage, "seed": seed, "data": "digits",
            "teacher": {"model": "mlp", "epochs": 1, "accept_weak": True},
            "student": {"model": {"mlp": {"hidden": {"int": [8, 64]}}}, "epochs": options.epochs},
            "distillation": {"temperature": {"float": [1, 8]}},
            "search": {"trials": options.trials, "sampler": "random", "checkpoint_epochs": 1},
        }  # fmt: skip
        records = pipeline.sweep(loading.from_dict(spec), observers=[killer]).records()
    students = [[record.trial_id, record.state, record.measures.get("accuracy")] for record in records]
    return {"seconds": max(killer.times_s) - min(killer.times_s), "deaths": len(killer.killed), "students": students}


def in_a_process(options: argparse.Namespace, deaths: int, seed: int) -> dict[str, Any]:
    """Run one sweep in a process of its own, or here if the cluster is shared."""
    if smoke.is_shared():
        return measured(options, deaths, seed)
    numbers = {"epochs": options.epochs, "trials": options.trials, "every": options.every, "deaths": deaths, "seed": seed}
    words = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([sys.executable, __file__, "--one", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def pair(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return one row: the seconds of both sweeps of a seed, of which every second seed's disturbed one is the first."""
    order = (0, options.deaths) if seed % 2 == 0 else (options.deaths, 0)
    undisturbed, disturbed = sorted((in_a_process(options, deaths, seed) for deaths in order), key=lambda run: run["deaths"])
    if undisturbed["students"] != disturbed["students"]:
        sys.exit(f"Seed {seed}: the students of both sweeps differ:\n{undisturbed['students']}\n{disturbed['students']}")
    if not disturbed["deaths"]:
        sys.exit(f"Seed {seed}: the search ended before a worker was killed. Give --trials or --epochs more.")
    row = {"undisturbed_s": undisturbed["seconds"], "disturbed_s": disturbed["seconds"], "deaths": disturbed["deaths"]}
    return {"seed": seed, **row, "each_death_s": (disturbed["seconds"] - undisturbed["seconds"]) / disturbed["deaths"]}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean and the standard deviation of each column."""
    columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "seed"}
    return [
        {"seed": "mean", **{name: statistics.fmean(values) for name, values in columns.items()}},
        {"seed": "standard deviation", **{name: machine.deviation(values) for name, values in columns.items()}},
    ]


def main() -> None:
    parser = smoke.Parser(__doc__, runs=1, trials=1, epochs=20, deaths=1, every=0.05)
    parser.add_argument("--runs", type=int, default=3, help="pairs of sweeps, each with a seed of its own")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--deaths", type=int, default=4, help="workers that are killed in a sweep")
    parser.add_argument("--every", type=float, default=4.0, help="seconds from one kill to the next")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options, options.deaths, options.seed)))
        return
    rows = [pair(options, seed) for seed in range(options.runs)]
    title = f"The death of a worker, one every {options.every:g} s, {options.runs} pairs of sweeps"
    machine.show(title, [*rows, *summary(rows)], as_json=options.json)


if __name__ == "__main__":
    main()
