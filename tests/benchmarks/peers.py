"""Our searches against what a user would otherwise take, on a recorded table and on textbook problems.

    python tests/benchmarks/peers.py ROWS.jsonl --table digits.parquet --spec tests/benchmarks/digits_record.yaml
    python tests/benchmarks/peers.py ROWS.jsonl --problem zdt1 zdt2 zdt3 dtlz2 dtlz2-3
    python tests/benchmarks/peers.py ROWS.jsonl --summary [--against stock] [--picture peers.png]

ROWS.jsonl gets a line a (ground, search, seed), what is there already is not run again. `syne-moasha` needs Syne Tune, which is
installed at its first use into an environment of its own (`--environment`), as its numpy is older than ours.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np

from tests.benchmarks import contest, machine, smoke
from tests.benchmarks.contest import Never, Stops, Suggests
from tests.benchmarks.grounds import Ground, Params, Recorded, Student, Textbook
from tests.benchmarks.problems import PROBLEMS
from tutelage.search import promotion
from tutelage.search.gaussian_process import Array
from tutelage.search.rules import Rule
from tutelage.search.rules.dominance import Dominance
from tutelage.search.rules.mo_asha import Halving
from tutelage.search.sampler import Sampler
from tutelage.search.size_aware import SizeAware
from tutelage.spec.domains import Choice, Domain, Float, any_value

HERE = Path(__file__).parent
SYNE_TUNE = "syne-tune==0.15.0"
IT_IMPORTS = ("numpy==1.26.4", "pandas==3.0.6", "dill==0.4.1", "typing_extensions==4.16.0")  # all that MOASHA does; not XGBoost
RUNGS = (1, 3, 9)
SHARE = 0.2  # of the epochs, for promotion


class Arrivals:
    """Random configs, in the same order for every search of a seed."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self._configs: Iterator[Params] = ground.arrivals(seed)

    def ask(self, number: int) -> Params | None:
        return next(self._configs, None)

    def seen(self, number: int, student: Student, epoch: int) -> None:
        """Learn nothing."""

    def tell(self, number: int, known: Array, error: float, epoch: int, *, stopped: bool) -> None:
        """Learn nothing."""


class RayOptunaSearch:
    """Ray Tune's own `OptunaSearch` over several metrics, as it comes: Optuna's default sampler, no scheduler."""

    def __init__(self, ground: Ground, seed: int) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._ground, self._params = ground, dict[str, Any]()
        self._num_known = len(ground.student(next(ground.arrivals(0)), 0).known)
        self._metrics = [*(f"known_{k}" for k in range(self._num_known)), "error"]
        self._search = OptunaSearch(space=self._drawn, metric=self._metrics, mode=["min"] * len(self._metrics), seed=seed)

    def _drawn(self, trial: Any) -> None:
        self._params = self._ground.space.resolve(lambda name, domain: suggested(trial, name, domain))[1]

    def ask(self, number: int) -> Params | None:
        self._search.suggest(str(number))
        return self._params

    def seen(self, number: int, student: Student, epoch: int) -> None:
        """It drops what comes before the end."""

    def tell(self, number: int, known: Array, error: float, epoch: int, *, stopped: bool) -> None:
        values = dict(zip(self._metrics, [*known.tolist(), error], strict=True))
        self._search.on_trial_complete(str(number), values)


def suggested(trial: Any, name: str, domain: Domain) -> Any:
    """Ask Optuna for a value of a domain of ours."""
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, list(domain.labels))
    kind = trial.suggest_float if isinstance(domain, Float) else trial.suggest_int
    step = {} if domain.step is None else {"step": domain.step}
    return kind(name, domain.low, domain.high, log=domain.log, **step)


class RayASHA(Never):
    """Ray Tune's own `ASHAScheduler`, driven by hand: it takes one metric, the error."""

    def __init__(self, ground: Ground) -> None:
        from ray.tune.schedulers import ASHAScheduler

        self._epochs, self._trials = ground.epochs, dict[int, Any]()
        self._scheduler: Any = ASHAScheduler(
            time_attr="epoch", metric="error", mode="min", max_t=ground.epochs, grace_period=1, reduction_factor=3
        )

    def goes_on(self, number: int, known: Array, error: float, epoch: int) -> bool:
        if number not in self._trials:
            self._trials[number] = SimpleNamespace(trial_id=str(number))
            self._scheduler.on_trial_add(None, self._trials[number])
        decision = self._scheduler.on_trial_result(None, self._trials[number], {"epoch": epoch, "error": error})
        return bool(decision == self._scheduler.CONTINUE)

    def finished(self, number: int, known: Array, errors: Array) -> None:
        self._scheduler.on_trial_complete(None, self._trials[number], {"epoch": self._epochs, "error": float(errors[-1])})


class SyneTune(Never):
    """Syne Tune's MOASHA in its own process and environment; it suggests as well as it stops."""

    def __init__(self, ground: Ground, seed: int, python: Path) -> None:
        num_known = len(ground.student(next(ground.arrivals(0)), 0).known)
        self._epochs, self._arrivals = ground.epochs, Arrivals(ground, seed)
        self._child = subprocess.Popen([python, HERE / "moasha_child.py"], stdin=-1, stdout=-1, text=True)
        metrics = [*(f"known_{k}" for k in range(num_known)), "error"]
        self._write({"metrics": metrics, "epochs": ground.epochs, "seed": seed})
        self._met = -1

    def _write(self, document: dict[str, Any]) -> None:
        assert self._child.stdin
        self._child.stdin.write(json.dumps(document) + "\n")
        self._child.stdin.flush()

    def _answer(self, document: dict[str, Any]) -> Any:
        self._write(document)
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line:
            sys.exit(f"Syne Tune's process ended with {self._child.wait()}")
        return json.loads(line)

    def ask(self, number: int) -> Params | None:
        arrival, self._met = self._answer({"ask": number}), self._met + 1
        assert arrival == self._met, (arrival, self._met)
        return self._arrivals.ask(number)

    def goes_on(self, number: int, known: Array, error: float, epoch: int) -> bool:
        return bool(self._answer({"trial": number, "epoch": epoch, "values": [*known.tolist(), error]}) == "CONTINUE")

    def finished(self, number: int, known: Array, errors: Array) -> None:
        self.goes_on(number, known, float(errors[-1]), self._epochs)

    def seen(self, number: int, student: Student, epoch: int) -> None:
        """It is asked about every result, and so told."""

    def tell(self, number: int, known: Array, error: float, epoch: int, *, stopped: bool) -> None:
        """It is told as results come."""

    def close(self) -> None:
        assert self._child.stdin and self._child.stdout
        self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()


class OurSampler:
    """A sampler of ours, asked and told as a sweep does it: at the rungs as well, on even scales."""

    def __init__(self, ground: Ground, kind: str, seed: int, rungs: Sequence[int] = ()) -> None:
        num_known = len(ground.student(next(ground.arrivals(0)), 0).known)
        self._sampler, self._even = Sampler(ground.space, num_known + 1, kind, seed, rungs), ground.even

    def ask(self, number: int) -> Params | None:
        suggestion = self._sampler.ask()
        assert suggestion.number == number, (suggestion.number, number)
        return suggestion.params

    def seen(self, number: int, student: Student, epoch: int) -> None:
        if epoch in RUNGS:
            self._sampler.observe(number, epoch, self._even(student.whole, student.errors[epoch - 1]).tolist())

    def tell(self, number: int, known: Array, error: float, epoch: int, *, stopped: bool) -> None:
        if stopped:
            self._sampler.tell_stopped(number)
        else:
            self._sampler.tell_finished(number, self._even(known, error).tolist(), {})


class OurSizeAware:
    """The sampler that knows sizes before training, asked and told as a sweep does it."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self._ground, self._seed, self._random = ground, seed, Random(seed)
        self._chooser = SizeAware(ground.space, self._known, seed, ground.reference)

    def _known(self, params: Params) -> Array:
        return self._ground.even(self._ground.student(params, self._seed).known, 1.0)[:-1]

    def ask(self, number: int) -> Params | None:
        params = (
            self._chooser.suggest(number) or self._ground.space.resolve(lambda _, domain: any_value(self._random, domain))[1]
        )
        self._chooser.started(number, params, self._known(params))
        return params

    def seen(self, number: int, student: Student, epoch: int) -> None:
        """Learn nothing of what has not ended."""

    def tell(self, number: int, known: Array, error: float, epoch: int, *, stopped: bool) -> None:
        if stopped:
            self._chooser.discarded(number)
        else:
            self._chooser.finished(number, float(self._ground.even(known, error)[-1]))


class OurRule(Never):
    """A stopping rule of ours, asked at its rungs and told of what finished, as a sweep does it."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def goes_on(self, number: int, known: Array, error: float, epoch: int) -> bool:
        return epoch not in RUNGS or not self._rule.stops(epoch, known, error)

    def finished(self, number: int, known: Array, errors: Array) -> None:
        self._rule.finished(known, {epoch: float(errors[epoch - 1]) for epoch in RUNGS}, float(errors[-1]))


class OurPromotion(Never):
    """Pause and promote, as a sweep of open length does it: `share` is of the epochs of those that have begun."""

    pausing = True

    def __init__(self, ground: Ground, share: float) -> None:
        self._ground, self._students = ground, dict[int, promotion.Student]()
        self._rule = promotion.Promotion(rungs=RUNGS, max_epochs=ground.epochs, share=share)

    def started(self, number: int, params: Params, student: Student) -> None:
        known, whole = (self._ground.even(sizes, 1.0)[:-1] for sizes in (student.known, student.whole))
        traits = np.array(self._ground.space.traits(params))
        self._students[number] = promotion.Student(known=known, whole=whole, traits=traits)

    def goes_on(self, number: int, known: Array, error: float, epoch: int) -> bool:
        if epoch not in RUNGS:
            return True
        pauses = self._rule.pauses(number, epoch, self._students[number], float(self._ground.even(known, error)[-1]))
        if pauses:
            self._rule.paused(number)
        return not pauses

    def finished(self, number: int, known: Array, errors: Array) -> None:
        self._rule.finished(number, self._students[number], float(self._ground.even(known, float(errors[-1]))[-1]))

    def promoted(self, *, is_last: bool) -> int | None:
        return self._rule.promoted(is_last=is_last)


Entry = Callable[[Ground, int, ExitStack, Path], tuple[Suggests, Stops]]


def dominance(ground: Ground) -> OurRule:
    return OurRule(Dominance(num_judged=ground.num_judged, confidence=0.9))


def syne_tune(ground: Ground, seed: int, closing_later: ExitStack, environment: Path) -> tuple[Suggests, Stops]:
    search = closing_later.enter_context(closing(SyneTune(ground, seed, python_of(environment))))
    return search, search


SEARCHES: dict[str, Entry] = {
    "random": lambda ground, seed, later, home: (Arrivals(ground, seed), Never()),
    "ray-asha": lambda ground, seed, later, home: (Arrivals(ground, seed), RayASHA(ground)),
    "syne-moasha": syne_tune,
    "stock": lambda ground, seed, later, home: (RayOptunaSearch(ground, seed), Never()),
    "tpe": lambda ground, seed, later, home: (OurSampler(ground, "tpe", seed), Never()),
    "random + mo-asha": lambda ground, seed, later, home: (Arrivals(ground, seed), OurRule(Halving(factor=3))),
    "random + dominance": lambda ground, seed, later, home: (Arrivals(ground, seed), dominance(ground)),
    "tpe + dominance": lambda ground, seed, later, home: (OurSampler(ground, "tpe", seed, RUNGS), dominance(ground)),
    "random + promotion": lambda ground, seed, later, home: (Arrivals(ground, seed), OurPromotion(ground, SHARE)),
    "size-aware": lambda ground, seed, later, home: (OurSizeAware(ground, seed), Never()),
    "size-aware + promotion": lambda ground, seed, later, home: (OurSizeAware(ground, seed), OurPromotion(ground, 2 * SHARE)),
    "tpe + promotion": lambda ground, seed, later, home: (OurSampler(ground, "tpe", seed, RUNGS), OurPromotion(ground, SHARE)),
}


def python_of(environment: Path) -> Path:
    """Return the interpreter of the environment that has Syne Tune, made if it is not there."""
    python = environment.absolute() / "bin" / "python"
    if not (environment / "installed").exists():
        print(f"installing {SYNE_TUNE} into {environment}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        for asked in (IT_IMPORTS, ("--no-deps", SYNE_TUNE)):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *asked], check=True)
        (environment / "installed").touch()
    return python


def run(rows: Path, ground: Ground, options: argparse.Namespace) -> None:
    """Run what is not in `rows` yet, and add it there line by line."""
    budget = options.budget * ground.epochs
    have = {(row["ground"], row["search"], row["seed"], row["budget"], row["workers"]) for row in read(rows)}
    for seed in range(options.seeds):
        for name in options.only:
            if (ground.name, name, seed, budget, options.workers) in have:
                continue
            with ExitStack() as later, rows.open("a") as file:
                suggests, stops = SEARCHES[name](ground, seed, later, options.environment)
                found = contest.compete(ground, suggests, stops, budget=budget, workers=options.workers, seed=seed)
                row = contest.row_of(ground, name, found, budget=budget, workers=options.workers, seed=seed)
                file.write(json.dumps(row) + "\n")
            print(f"{ground.name} {name} {seed}: {row['volume'][-1]:.3f}", file=sys.stderr)


def read(rows: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def main() -> None:
    parser = smoke.Parser(
        __doc__,
        rows=lambda: smoke.scratch() / "peers.jsonl",
        problem=["zdt1"],
        seeds=1,
        budget=3,
        only=[name for name in SEARCHES if name != "syne-moasha"],
        picture=lambda: smoke.scratch() / "peers.png",
    )
    parser.add_argument("rows", type=Path)
    parser.add_argument("--table", type=Path, help="a table of record.py")
    parser.add_argument("--spec", type=Path, help="the spec that the table was recorded from")
    parser.add_argument("--judged", type=int, default=359, help="validation examples behind the table's errors")
    parser.add_argument("--problem", nargs="*", default=[], choices=list(PROBLEMS))
    parser.add_argument("--only", nargs="*", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=100, help="in students with all their epochs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--environment", type=Path, default=Path(".tutelage/peers"), help="where Syne Tune is installed")
    parser.add_argument("--summary", action="store_true", help="print what is in the rows, and run nothing")
    parser.add_argument("--against", default="stock", help="the search that differences are taken from")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if (options.table is None) != (options.spec is None):
        parser.error("--table and --spec go together.")
    warnings.simplefilter("ignore")
    logging.getLogger("ray").setLevel(logging.ERROR)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grounds: list[Ground] = [Textbook(PROBLEMS[name]) for name in options.problem]
    if options.table:
        grounds.append(Recorded(options.table, options.spec, options.judged))
    for ground in grounds if not options.summary else []:
        run(options.rows, ground, options)
    options.summary |= options.smoke
    rows = read(options.rows)
    for name in dict.fromkeys(row["ground"] for row in rows) if options.summary else []:
        of = [row for row in rows if row["ground"] == name]
        title = f"{name}: {of[0]['budget']} epochs, {of[0]['workers']} workers; means ± standard deviations over seeds"
        machine.show(title, contest.summary(of, options.against), as_json=options.json)
    if options.picture:
        contest.picture(rows, options.picture)


if __name__ == "__main__":
    main()
