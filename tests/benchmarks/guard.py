"""How often a guard's promise holds: simulated guards whose truth is known, and real ones on the digits.

    python tests/benchmarks/guard.py [--guards 200]
    python tests/benchmarks/guard.py --real 20

Simulated: a dense network is right on nine of ten examples. Each candidate is wrong on some of those and right on some
others. On most examples candidates agree how fragile these are, so their errors are correlated. A candidate's true drop is
what it loses less what it wins. The guard walks the candidates on n examples, as `tutelage select` does. The usual guard takes
the strongest candidate whose drop is within the bound on the 2n examples that chose it. A promise holds if the true drop of
the candidate that is taken is below the bound.

`--real N` trains N students of the digits with a ladder of removed channels, each seed on another split, and measures the
drop on the test split, 881 examples that nothing else reads. That measure has a standard error, which the table states.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage.measures.accuracy import MEASURE as ACCURACY
from tutelage.selection.certification import by_evidence, walk

Answers = NDArray[np.float64]  # [n, 1], 1 where a network is right

RIGHT, WON = 0.9, 0.01  # shares of examples on which the dense network is right, and on which only a candidate is
SHARED = 0.7  # share of examples that are as fragile for one candidate as for all others
SIZES = ((180, 0.05), (1000, 0.015))  # certification examples, and the bound that they carry
DROPS: dict[str, Sequence[float]] = {  # true drops of the candidates from gentle to strong, in multiples of the bound
    "a ladder across the bound": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    "all candidates at the bound": (1.0,) * 8,
}
DIGITS = {"digits": {"validation_share": 0.3, "test_share": 0.49}}
MAX_DROP = 0.03  # of the real guards, whose certification half has 269 examples
LADDER = {"amount": 0.8, "method": "channels", "ladder": {"rungs": 8, "spacing": "linear", "recovery_epochs": 3}}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The true drop of the candidate that a guard takes (0 for the reference), and whether it is another than the reference."""

    drop: float
    is_smaller: bool


def drawn(generator: np.random.Generator, n: int, drops: Sequence[float]) -> tuple[Answers, list[Answers]]:
    """Return what the dense network and each candidate are right on, of n new examples."""
    right, fragility = generator.random(n) < RIGHT, generator.random(n)

    def candidate(drop: float) -> Answers:
        own = np.where(generator.random(n) < SHARED, fragility, generator.random(n))
        return np.where(right, own >= (drop + WON) / RIGHT, own < WON / (1 - RIGHT)).astype(float)[:, None]

    return right.astype(float)[:, None], [candidate(drop) for drop in drops]


def certified(
    reference: Answers, candidates: Sequence[Answers], order: Sequence[int], max_drop: float, drops: Sequence[float]
) -> Taken:  # fmt: skip
    """Return the strongest candidate that the guard certifies in this order."""
    steps = walk(ACCURACY, reference, ((str(one), candidates[one]) for one in order), max_drop, 0.95)
    passed = [int(step.trial) for step in steps if step.passed]
    return Taken(drop=drops[max(passed)] if passed else 0.0, is_smaller=bool(passed))


def usual(reference: Answers, candidates: Sequence[Answers], max_drop: float, drops: Sequence[float]) -> Taken:
    """Return the strongest candidate whose drop on these very examples is within the bound."""
    within = [one for one, own in enumerate(candidates) if float((reference - own).mean()) <= max_drop]
    return Taken(drop=drops[max(within)] if within else 0.0, is_smaller=bool(within))


def simulated(guards: int, n: int, max_drop: float, multiples: Sequence[float]) -> dict[str, list[Taken]]:
    """Return what each kind of guard takes in each of `guards` simulations."""
    found: dict[str, list[Taken]] = {"ladder": [], "front": [], "usual": []}
    drops = [max_drop * multiple for multiple in multiples]
    for seed in range(guards):
        generator = np.random.default_rng([seed, n])
        decision, decided = drawn(generator, n, drops)
        reference, candidates = drawn(generator, n, drops)
        order = by_evidence(ACCURACY, decision, {str(one): own for one, own in enumerate(decided)}, max_drop)
        found["ladder"].append(certified(reference, candidates, range(len(drops)), max_drop, drops))
        found["front"].append(certified(reference, candidates, [int(one) for one in order], max_drop, drops))
        both = [np.concatenate(pair) for pair in zip([decision, *decided], [reference, *candidates], strict=True)]
        found["usual"].append(usual(both[0], both[1:], max_drop, drops))
    return found


KINDS = {
    "ladder": "certified, from gentle to strong", "front": "certified, by evidence (Pareto Testing)",
    "usual": "usual: checked on what chose",
}  # fmt: skip


def table_of_simulated(guards: int) -> list[dict[str, Any]]:
    """Return a row for each number of examples, kind of candidates and guard."""
    rows = []
    for n, max_drop in SIZES:
        for candidates, multiples in DROPS.items():
            for kind, taken in simulated(guards, n, max_drop, multiples).items():
                held = [one.drop < max_drop * (1 - 1e-9) for one in taken]
                rows.append(
                    {
                        "examples": n if kind != "usual" else 2 * n, "bound": f"{100 * max_drop:g} points",
                        "candidates": candidates, "guard": KINDS[kind], "guards": guards,
                        "promise holds": f"{100 * np.mean(held):.1f} %",
                        "takes a smaller one": f"{100 * np.mean([one.is_smaller for one in taken]):.1f} %",
                        "true drop, points": f"{100 * np.mean([one.drop for one in taken]):.2f}",
                    }
                )  # fmt: skip
    return rows


def real(guards: int, epochs: int) -> list[dict[str, Any]]:
    """Train a student with a ladder for each seed; return what both guards take, and their drops on the test split."""
    from tests.conftest import SMALL_SPEC
    from tutelage.spec import loading
    from tutelage.training import inference, loop, student
    from tutelage.training.context import TrainingContext

    model = {"mlp": {"hidden": 64, "depth": 2}}
    loaded = loading.from_dict({
        **SMALL_SPEC, "data": DIGITS, "student": {"model": model, "epochs": epochs}, "distillation": {"weight": 0.0},
        "sparsity": LADDER,
    })  # fmt: skip
    config = loaded.trial_config(loaded.space.resolve(lambda name, domain: None)[0])
    rows = []
    for seed in range(guards):
        context = TrainingContext(data=DIGITS, task="image_classification", seed=seed, has_guard=True)
        training = loop.Training(student.build(config, context, seed), student.plan(config, context, seed))
        while not training.is_done:
            training.epoch()
        points = training.finish()

        def answers(examples: Any, points: Any = points, context: TrainingContext = context) -> list[Answers]:
            return [inference.contributions_of(one.model, context.built_task, examples)["accuracy"] for one in points]

        decision, certification, test = (
            answers(one) for one in (context.splits["validation"], context.certification, context.read("test"))
        )
        drops = [float((test[0] - own).mean()) for own in test[1:]]
        both = [np.concatenate(pair) for pair in zip(decision, certification, strict=True)]
        for kind, taken in (
            ("ladder", certified(certification[0], certification[1:], range(len(drops)), MAX_DROP, drops)),
            ("usual", usual(both[0], both[1:], MAX_DROP, drops)),
        ):
            differing = [
                float((test[0] != own).mean()) for drop, own in zip(drops, test[1:], strict=True) if drop == taken.drop
            ]
            error = math.sqrt(max(0.0, (differing[0] if differing else 0.0) - taken.drop**2) / len(test[0]))
            rows.append(
                {"seed": seed, "kind": kind, "drop": taken.drop, "error": error, "is_smaller": taken.is_smaller,
                 "dense": float(test[0].mean()), "drops": drops}
            )  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def table_of_real(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each guard; a drop is beyond noise if it is above the bound by more than 1.64 standard errors."""

    def share(own: Sequence[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> str:
        return f"{sum(map(holds, own))} of {len(own)}"

    table = []
    for kind in ("ladder", "usual"):
        own = [row for row in rows if row["kind"] == kind]
        table.append(
            {
                "guard": KINDS[kind], "bound": f"{100 * MAX_DROP:g} points",
                "drop on test below it": share(own, lambda row: row["drop"] < MAX_DROP),
                "above it by more than noise": share(own, lambda row: row["drop"] - 1.64 * row["error"] >= MAX_DROP),
                "takes a smaller one": share(own, lambda row: row["is_smaller"]),
                "drop on test, points": f"{100 * np.mean([row['drop'] for row in own]):.2f}",
                "its standard error": f"{100 * np.mean([row['error'] for row in own]):.2f}",
                "largest drop": f"{100 * max(row['drop'] for row in own):.2f}",
            }
        )  # fmt: skip
    return table


def main() -> None:
    """Print the table that is asked for."""
    parser = smoke.Parser(__doc__, guards=2, epochs=26)
    parser.add_argument("--guards", type=int, default=200, help="simulated guards of each kind")
    parser.add_argument("--real", type=int, default=0, help="train this many guarded students of the digits instead")
    parser.add_argument("--epochs", type=int, default=60, help="of a real student, 24 of them after removals")
    options = parser.parse_args()
    if options.real:
        rows = table_of_real(real(options.real, options.epochs))
        machine.show(f"{options.real} guarded students of the digits", rows, as_json=options.json)
        return
    machine.show(f"{options.guards} simulated guards", table_of_simulated(options.guards), as_json=options.json)


if __name__ == "__main__":
    main()
