"""The same wall-clock time for the stock recipe and for a sweep of ours: hypervolume against seconds, really trained.

    python tests/benchmarks/against_stock.py SPEC ROWS.jsonl [--minutes 5] [--seeds 3] [--only stock ours …] [--set key=value …]
    python tests/benchmarks/against_stock.py SPEC ROWS.jsonl --summary [--picture against_stock.png]

`stock`: Ray Tune with a function that trains a student and reports every epoch, `OptunaSearch` over accuracy and parameters, as
many trials at once as there are cores, no scheduler, nothing else set. `stock-reused`: the same with `reuse_actors=True`.
`ours`: `tutelage sweep` of the spec, with its own sampler and stopping, MLflow, ledger and the students' files. Both train the
same spec's students with the same teacher and cached knowledge, which are made before the clock starts; it starts as Ray Tune
is called. Each run has a process and a Ray of its own, and runs take turns in changing order. Only students with all their
epochs count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tests.benchmarks.peers import suggested
from tutelage import intervals, pareto
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, StageStarted
from tutelage.spec import loading, spec
from tutelage.spec.space import Space
from tutelage.sweep import knowledge, pipeline, teachers
from tutelage.training import cluster, context, loop, student, student_measures, student_sizes
from tutelage.training.context import TrainingContext

DIGITS = Path(__file__).parent / "digits_record.yaml"
STEPS = 100  # of a curve, over the time
Ended = tuple[float, float, float]  # seconds since the start, parameters, error on validation


def loaded_of(options: argparse.Namespace, seed: int, extra: Sequence[str] = ()) -> spec.Spec:
    return loading.load(options.spec, [*options.overrides, f"seed={seed}", f"storage={options.storage}", *extra])


def taught(loaded: spec.Spec) -> TrainingContext:
    """Return the context with its teacher and knowledge made or reused."""
    room = context.context_of(loaded)
    return knowledge.ensure_knowledge(
        loaded, room, teachers.ensure_teachers(loaded, room, lambda text: None), lambda text: None
    )


def drawn(space: Space, trial: Any) -> None:
    """Ask Optuna for what the space needs; at the module's level, as Ray pickles the searcher."""
    space.resolve(lambda name, domain: suggested(trial, name, domain))


def stock(options: argparse.Namespace, seed: int, *, reuse_actors: bool | None) -> list[Ended]:
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    loaded = loaded_of(options, seed)
    space = loaded.space

    def train(values: dict[str, Any], room: TrainingContext) -> None:
        import torch

        torch.set_num_threads(1)
        config = loaded.trial_config(space.resolve(lambda name, domain: values[name])[0])
        params = student_sizes.presize(config, room).final["params"]
        plan = loop.Training(student.build(config, room, seed), student.plan(config, room, seed))
        while not plan.is_done:
            accuracy = plan.epoch()["accuracy"]
            if plan.is_done:
                params = student_measures.final_measures(plan.model.eval(), room)["params"]
            tune.report({"accuracy": accuracy, "params": params, "is_whole": plan.is_done, "ended_s": time.time()})

    search = OptunaSearch(space=partial(drawn, space), metric=["accuracy", "params"], mode=["max", "min"], seed=seed)
    reuse: dict[str, Any] = {} if reuse_actors is None else {"reuse_actors": reuse_actors}
    with cluster.cluster(None, Dispatcher()), tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, room=taught(loaded)), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=options.trials or -1, time_budget_s=options.minutes * 60,
                max_concurrent_trials=os.cpu_count(), **reuse,
            ),
            run_config=tune.RunConfig(storage_path=scratch, name="stock", verbose=0),
        )  # fmt: skip
        started_s = time.time()
        grid: Any = tuner.fit()
        results = [result.metrics for result in grid if result.metrics and result.metrics.get("is_whole")]
    return [(row["ended_s"] - started_s, row["params"], 1 - row["accuracy"]) for row in results]


class SearchStart:
    """Notes when the search itself begins: the teacher and its knowledge are there by then."""

    started_s = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.text.startswith("searching "):
            self.started_s = event.unix_time_s


def ours(options: argparse.Namespace, seed: int) -> list[Ended]:
    with tempfile.TemporaryDirectory() as tracked:
        loaded = loaded_of(options, seed, [
            f"name=against-stock-{seed}-{time.time_ns()}", f"search.trials={options.trials or 'null'}",
            f"search.hours={options.minutes / 60}",
            f"tracking.uri=sqlite:///{tracked}/mlflow.db",
        ])  # fmt: skip
        observer = SearchStart()
        with cluster.cluster(None, Dispatcher()):
            taught(loaded)
            home = pipeline.sweep(loaded, observers=[observer])
    whole = [record for record in home.records() if record.state == "finished"]
    return [
        (record.started_s + record.elapsed_s - observer.started_s, record.measures["params"], 1 - record.measures["accuracy"])
        for record in whole
    ]


RECIPES: dict[str, Callable[[argparse.Namespace, int], list[Ended]]] = {
    "stock": lambda options, seed: stock(options, seed, reuse_actors=None),
    "stock-reused": lambda options, seed: stock(options, seed, reuse_actors=True),
    "ours": ours,
}


def run(options: argparse.Namespace) -> None:
    """Run what is not in the rows yet, each in a process of its own."""
    have = {(row["recipe"], row["seed"], row["minutes"]) for row in read(options.rows)}
    for seed in range(options.seeds):
        turn = seed % len(options.only)
        for recipe in options.only[turn:] + options.only[:turn]:
            if (recipe, seed, options.minutes) in have:
                continue
            students = RECIPES[recipe](options, seed) if smoke.is_shared() else in_a_process(recipe, seed)
            with options.rows.open("a") as file:
                row = {"recipe": recipe, "seed": seed, "minutes": options.minutes, "students": students}
                file.write(json.dumps(row) + "\n")
            print(f"{recipe} {seed}: {len(students)} students", file=sys.stderr)


def in_a_process(recipe: str, seed: int) -> list[Ended]:
    command = [sys.executable, __file__, *sys.argv[1:], "--one", recipe, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: list[Ended] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def read(rows: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, np.ndarray[Any, Any]]]:
    """Return for each recipe and seed the hypervolume after each hundredth of the time, as a share of all runs' together.

    It is over log10 of parameters and of error + 1/1000, up to the worst student of any run.
    """
    everyone = np.concatenate([_points(row["students"]) for row in rows])
    reference = everyone.max(axis=0) + 1e-6
    best = pareto.hypervolume(everyone, reference)
    found: dict[str, dict[int, np.ndarray[Any, Any]]] = {}
    for row in rows:
        seconds, points = np.array([one[0] for one in row["students"]]), _points(row["students"])
        times = row["minutes"] * 60 * np.arange(1, STEPS + 1) / STEPS
        volumes = [pareto.hypervolume(points[seconds <= t], reference) / best if (seconds <= t).any() else 0.0 for t in times]
        found.setdefault(row["recipe"], {})[row["seed"]] = np.array(volumes)
    return found


def _points(students: Sequence[Sequence[float]]) -> np.ndarray[Any, Any]:
    rows = np.array(students, dtype=float).reshape(-1, 3)
    found: np.ndarray[Any, Any] = np.log10(np.column_stack([rows[:, 1], rows[:, 2] + 1e-3]))
    return found


def _reached(curve: np.ndarray[Any, Any], volume: float) -> float:
    """Return after what share of the time a curve is at a volume; 1 if it never is before the end."""
    there = curve >= volume
    return (int(there.argmax()) + 1) / STEPS if there.any() else 1.0


def summary(rows: Sequence[Mapping[str, Any]], against: str) -> list[dict[str, Any]]:
    lines, found = [], curves(rows)
    for recipe, seeds in found.items():
        ends = np.array([curve[-1] for curve in seeds.values()])
        counts = [len(row["students"]) for row in rows if row["recipe"] == recipe]
        line: dict[str, Any] = {"recipe": recipe, "runs": len(seeds), "students": f"{np.mean(counts):.0f}"}
        for share in (25, 50, 100):
            line[f"volume at {share} %"] = f"{np.mean([curve[share * STEPS // 100 - 1] for curve in seeds.values()]):.3f}"
        line["sd"] = f"{ends.std(ddof=1):.3f}" if len(ends) > 1 else "-"
        both = sorted(set(seeds) & set(found.get(against, {})))
        differences = [100 * float(seeds[seed][-1] - found[against][seed][-1]) for seed in both]
        shares = [_reached(seeds[seed], float(found[against][seed][-1])) for seed in both if recipe != against]
        line[f"share of the time to {against}'s end"] = ", ".join(f"{share:.2f}" for share in shares)
        line[f"volume − {against}"] = "-"
        if recipe != against and len(differences) > 1:
            low, high = intervals.mean_interval(differences)
            line[f"volume − {against}"] = f"{np.mean(differences):+.1f} ({low:+.1f} to {high:+.1f})"
        lines.append(line)
    return lines


def picture(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Suggestion hypervolume against seconds: every run thin, the mean of a recipe's seeds thick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    seconds = rows[0]["minutes"] * 60 * np.arange(1, STEPS + 1) / STEPS
    for k, (recipe, seeds) in enumerate(curves(rows).items()):
        for curve in seeds.values():
            axis.plot(seconds, curve, color=f"C{k}", linewidth=0.6, alpha=0.5)
        axis.plot(seconds, np.mean(list(seeds.values()), axis=0), color=f"C{k}", linewidth=2, label=recipe)
    axis.set(xlabel="seconds of search", ylabel="share of the hypervolume of all runs together")
    axis.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = smoke.Parser(
        __doc__,
        spec=DIGITS,
        rows=lambda: smoke.scratch() / "against-stock.jsonl",
        minutes=5.0,
        trials=2,
        only=["stock", "ours"],
        seeds=1,
        overrides=smoke.SHORT,
        storage=smoke.scratch,
        picture=lambda: smoke.scratch() / "curves.png",
    )
    parser.add_argument("spec", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--trials", type=int, help="students of a run at most; none: as many as the time allows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--storage", type=Path, default=Path(".tutelage"))
    parser.add_argument("--summary", action="store_true", help="print what is in the rows, and run nothing")
    parser.add_argument("--against", default="stock")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(RECIPES[options.one[0]](options, int(options.one[1]))))
        return
    if not options.summary:
        run(options)
    options.summary |= options.smoke
    rows = [row for row in read(options.rows) if row["minutes"] == options.minutes]
    if options.summary:
        title = f"{options.spec.stem}: {options.minutes:g} minutes of search, {os.cpu_count()} cores"
        machine.show(title, summary(rows, options.against), as_json=options.json)
    if options.picture:
        picture(rows, options.picture)


if __name__ == "__main__":
    main()
