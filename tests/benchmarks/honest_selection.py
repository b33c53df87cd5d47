"""How far a selection's promise holds: sweeps of noisy validation, selected naively and after fresh seeds.

    python tests/benchmarks/honest_selection.py [--sweeps 200] [--real N]

Simulated: each sweep has 200 students whose true accuracies follow the logarithm of their size, with a scatter; a training's
own accuracy varies by its seed; validation examples of uneven difficulty are shared by all students of a sweep. Naive takes the
policy's student by validation, with Wilson's interval for it; ours is `Confirmation` as `tutelage select` runs it.
A promise holds if the true accuracy of the delivered weights, those of the search, lies in it.

`--real N` trains N sweeps of digits, each on another split, selects as the command line does, and sets what was promised
against the test split, which no choice has seen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage.intervals import wilson_interval
from tutelage.objectives import Limits, objective
from tutelage.records.trial import TrialRecord
from tutelage.selection.confirmation import Confirmation
from tutelage.selection.query import SelectionQuery

TINY = [*smoke.SHORT, "search.trials=4", "search.constraints={}", "student.model={mlp: search}"]
POLICIES: dict[str, tuple[Any, Limits]] = {
    "best-quality": ("best-quality", Limits()),
    "best-quality, params ≤ 10k": ("best-quality", Limits(max={"params": 10_000.0})),
    "smallest-within 0.01": ({"smallest-within": {"within": 0.01}}, Limits()),
    "min-size, accuracy ≥ 0.93": ("min-size", Limits(min={"accuracy": 0.93})),
    "knee": ("knee", Limits()),
}
OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))


@dataclass
class World:
    """A simulated sweep: what is true, and what validation shows of it."""

    params: np.ndarray
    skills: np.ndarray  # on the scale of logits: a student is right on an example of difficulty d with logistic(skill - d)
    seed_sd: float
    difficulties: np.ndarray  # of the validation examples
    rng: np.random.Generator

    @classmethod
    def made(cls, seed: int, num_students: int, num_judged: int, seed_sd: float) -> World:
        rng = np.random.default_rng(seed)
        params = 10 ** rng.uniform(2.3, 5, num_students)
        skills = 1.0 + 1.3 * (np.log10(params) - 2.3) + rng.normal(0, 0.25, num_students) - rng.exponential(0.35, num_students)
        return cls(params, skills, seed_sd, rng.normal(0, 1.5, num_judged), rng)

    def train(self, student: int) -> tuple[float, float]:
        """Return a training's true accuracy and what it has on validation."""
        skill = self.skills[student] + self.rng.normal(0, self.seed_sd)
        shown = self.rng.random(len(self.difficulties)) < _right(skill, self.difficulties)
        return float(_right(skill, ALL).mean()), float(shown.mean())


ALL = np.random.default_rng(12345).normal(0, 1.5, 20_000)


def _right(skill: float, difficulties: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-2.5 * (skill - difficulties)))


def simulated(options: argparse.Namespace, num_judged: int, seed_sd: float, policy: str) -> dict[str, list[float]]:
    seeds, most, num_students = options.seeds, options.most, options.students
    reference, limits = POLICIES[policy]
    query = SelectionQuery(primary=OBJECTIVES[0].measure, policy=reference, objectives=OBJECTIVES, limits=limits)
    found: dict[str, list[float]] = {}

    def add(**values: float) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(value)

    for number in range(options.sweeps):
        world = World.made(number, num_students, num_judged, seed_sd)
        outcomes = [world.train(student) for student in range(num_students)]
        records = [
            TrialRecord(
                number=i, state="finished", params={}, config={},
                measures={"accuracy": shown, "params": float(world.params[i])},
            )
            for i, (_, shown) in enumerate(outcomes)
        ]  # fmt: skip
        ranked = query.ranked(records)
        if not ranked:
            continue
        naive = ranked[0].number
        low, high = wilson_interval(round(outcomes[naive][1] * num_judged), num_judged)
        add(naive_holds=low <= outcomes[naive][0] <= high, naive_optimism=outcomes[naive][1] - outcomes[naive][0])
        add(naive_true=outcomes[naive][0], naive_width=high - low, naive_params=world.params[naive])
        race = Confirmation(query=query, records=records, num_judged=num_judged, seeds=seeds, seed=number)

        def train(trials: Sequence[str], world: World = world) -> Mapping[str, Sequence[float]]:
            return {trial: [world.train(int(trial[1:]))[1] for _ in range(seeds)] for trial in trials}

        fresh = race.run({}, train, most=most)
        estimates, ours = race.estimates(fresh), race.cautious(fresh).ranked(records)
        ours = [one for one in ours if one.trial_id in fresh]
        add(retrained=len(fresh), refused=not ours)
        if not ours:
            continue
        taken, estimate = ours[0].number, estimates[ours[0].trial_id]
        true = outcomes[taken][0]
        assert estimate.interval is not None and estimate.bound is not None
        add(holds=estimate.interval[0] <= true <= estimate.interval[1], lower_holds=estimate.bound <= true)
        add(optimism=estimate.mean - true, width=estimate.interval[1] - estimate.interval[0], true=true, changed=taken != naive)
        add(params=world.params[taken], limit_held=limits.min.get("accuracy", 0.0) <= true)
        add(naive_limit_held=limits.min.get("accuracy", 0.0) <= outcomes[naive][0])
    return found


def real(sweeps: int, policy: str, changes: Sequence[str]) -> list[dict[str, float]]:
    """Run `sweeps` sweeps of digits, each on a split of its own; return what was promised beside what the test split says."""
    from tutelage.networks import checkpoint
    from tutelage.records import fronts
    from tutelage.selection import select
    from tutelage.spec import loading
    from tutelage.sweep import pipeline
    from tutelage.training import inference

    reference, limits = POLICIES[policy]
    rows = []
    for seed in range(sweeps):
        with tempfile.TemporaryDirectory() as storage:
            overrides = [f"storage={storage}", f"seed={seed}", *changes]
            loaded = loading.load(Path(__file__).parents[2] / "search_spaces" / "digits.yaml", overrides)
            home = pipeline.sweep(loaded)
            query = SelectionQuery(primary=OBJECTIVES[0].measure, policy=reference, objectives=home.objectives(), limits=limits)
            naive = query.select(fronts.candidates(home)).record
            document = select.select(home, policy=reference, limits=limits).document
            context = select.context_with_teacher(home, loaded)
            test, task = context.read("test"), context.built_task
            of_naive = inference.measured(checkpoint.read(home.student_path(naive.trial_id))[0], task, test)["accuracy"]
            n, taught = len(context.splits["validation"]), document["confirmed"]["distilled"]
            low, high = wilson_interval(round(naive.measures["accuracy"] * n), n)
            row = {
                "naive_promised": naive.measures["accuracy"], "naive_test": of_naive, "naive_holds": low <= of_naive <= high,
                "promised": taught["mean"], "test": document["test"]["value"],
                "holds": taught["interval"][0] <= document["test"]["value"] <= taught["interval"][1],
                "width": taught["interval"][1] - taught["interval"][0], "naive_width": high - low,
                "retrained": float(len(document["candidates"])), "changed": document["student"]["trial"] != naive.trial_id,
            }  # fmt: skip
            print(seed, row, file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def table_of_real(rows: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    table = []
    for who, prefix in (("best on validation", "naive_"), ("tutelage select", "")):
        flattery = [row[f"{prefix}promised"] - row[f"{prefix}test"] for row in rows]
        table.append(
            {
                "selected by": who, "sweeps": len(rows), "promised": _spread([row[f"{prefix}promised"] for row in rows]),
                "test": _spread([row[f"{prefix}test"] for row in rows]), "promised - test": _spread(flattery),
                "width of the interval": _spread([row[f"{prefix}width"] for row in rows]),
                "test accuracy in it": f"{sum(row[f'{prefix}holds'] for row in rows)} of {len(rows)}",
            }
        )  # fmt: skip
    return table


def table_of_simulated(options: argparse.Namespace) -> list[dict[str, Any]]:
    table = []
    for num_judged, seed_sd in ((360, 0.15), (2000, 0.15), (360, 0.0)):
        for policy in POLICIES:
            found = simulated(options, num_judged, seed_sd, policy)
            bound = "accuracy" in POLICIES[policy][1].min

            def share(name: str, found: Mapping[str, Sequence[float]] = found) -> str:
                return f"{100 * np.mean(found[name]):.1f} %"

            table.append(
                {
                    "validation": num_judged, "seeds differ": seed_sd > 0, "policy": policy,
                    "naive covers": share("naive_holds"),
                    "covers": share("holds"), "naive optimism": _points(found["naive_optimism"]),
                    "optimism": _points(found["optimism"]), "naive width": _points(found["naive_width"]),
                    "width": _points(found["width"]),
                    "naive true": _points(found["naive_true"]), "true": _points(found["true"]),
                    "naive meets its bound": share("naive_limit_held") if bound else "",
                    "meets its bound": share("limit_held") if bound else "",
                    "none": share("refused"),
                    "trained again": f"{np.mean(found['retrained']):.1f}",
                }
            )  # fmt: skip
    return table


def _points(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.2f}"


def main() -> None:
    parser = smoke.Parser(__doc__, sweeps=2, students=40)
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--students", type=int, default=200, help="of a simulated sweep")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=6)
    parser.add_argument("--real", type=int, default=0, help="train this many sweeps of digits instead")
    parser.add_argument("--policy", default="best-quality, params ≤ 10k", choices=list(POLICIES), help="of the real sweeps")
    options = parser.parse_args()
    if options.real:
        rows = real(options.real, options.policy, TINY if options.smoke else ["student.epochs=15"])
        machine.show(f"{options.policy} on digits", table_of_real(rows), as_json=options.json)
        return
    title = f"{options.sweeps} simulated sweeps of {options.students} students, shares in points"
    machine.show(title, table_of_simulated(options), as_json=options.json)


if __name__ == "__main__":
    main()
