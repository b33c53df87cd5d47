"""How often a guard's guarantee holds: simulated guards whose truth is known, and real ones on the digits.

    python tests/benchmarks/guard.py [--guards 200]
    python tests/benchmarks/guard.py --real 20
    python tests/benchmarks/guard.py --real 20 --cifar PATH [--students 1]

Simulated: a dense network is right on nine of ten examples. Each candidate is wrong on some of those and right on some
others. On most examples candidates agree how fragile these are, so their errors are correlated. A candidate's true drop is
what it loses less what it wins. The guard tests the candidates on n examples, as `tutelage select` does. The usual guard takes
the strongest candidate whose drop is within the bound on the 2n examples that chose it. A guarantee holds if the true drop of
the candidate that is taken is below the bound.

`--real N` trains N students of the digits with a ladder of removed channels, each seed on another split, and measures the
drop on the test split, 881 examples that nothing else reads. That measure has a standard error, which the table states. With
`--cifar PATH`, the unpacked folder of CIFAR-100, N guards share the ladder of one student; the test split has 10,000 images.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import guard_real, machine, smoke
from tests.benchmarks.guard_real import Answers, Taken, certified, usual
from tutelage.measures.accuracy import MEASURE as ACCURACY
from tutelage.selection.certification import by_evidence

RIGHT, WON = 0.9, 0.01  # shares of examples on which the dense network is right, and on which only a candidate is
SHARED = 0.7  # share of examples that are as fragile for one candidate as for all others
SIZES = ((180, 0.05), (1000, 0.015))  # certification examples, and the bound that they carry
DROPS: dict[str, Sequence[float]] = {  # true drops of the candidates from gentle to strong, in multiples of the bound
    "a ladder across the bound": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    "all candidates at the bound": (1.0,) * 8,
}
MAX_DROP, MAX_DROP_CIFAR = 0.03, 0.04  # of the real guards


def drawn(generator: np.random.Generator, n: int, drops: Sequence[float]) -> tuple[Answers, list[Answers]]:
    """Return what the dense network and each candidate are right on, of n new examples."""
    right, fragility = generator.random(n) < RIGHT, generator.random(n)

    def candidate(drop: float) -> Answers:
        own = np.where(generator.random(n) < SHARED, fragility, generator.random(n))
        return np.where(right, own >= (drop + WON) / RIGHT, own < WON / (1 - RIGHT)).astype(float)[:, None]

    return right.astype(float)[:, None], [candidate(drop) for drop in drops]


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
                        "guarantee holds": f"{100 * np.mean(held):.1f} %",
                        "takes a smaller one": f"{100 * np.mean([one.is_smaller for one in taken]):.1f} %",
                        "true drop, points": f"{100 * np.mean([one.drop for one in taken]):.2f}",
                    }
                )  # fmt: skip
    return rows


def main() -> None:
    """Print the table that is asked for."""
    parser = smoke.Parser(__doc__, guards=2, epochs=26, cifar_epochs=9)
    parser.add_argument("--guards", type=int, default=200, help="simulated guards of each kind")
    parser.add_argument("--real", type=int, default=0, help="this many real guards instead")
    parser.add_argument("--cifar", metavar="PATH", help="real guards on CIFAR-100 in this folder, in place of the digits")
    parser.add_argument("--students", type=int, default=1, help="students of CIFAR-100, each with --real guards")
    parser.add_argument("--examples", type=int, default=1000, help="images of CIFAR-100 that certify, and as many that decide")
    parser.add_argument("--epochs", type=int, default=60, help="of a real student of the digits, 24 of them after removals")
    parser.add_argument("--cifar-epochs", type=int, default=20, help="of one of CIFAR-100, 8 of them after removals")
    options = parser.parse_args()
    if not options.real:
        machine.show(f"{options.guards} simulated guards", table_of_simulated(options.guards), as_json=options.json)
        return
    max_drop = MAX_DROP_CIFAR if options.cifar else MAX_DROP
    if options.cifar:
        path = smoke.cifar() if options.smoke else options.cifar
        sizes = (options.students, options.real, options.cifar_epochs, options.examples)
        rows = [*guard_real.on_cifar(path, *sizes, MAX_DROP_CIFAR)]
    else:
        rows = [*guard_real.on_digits(options.real, options.epochs, max_drop)]
    of = f"each of {options.students} students of CIFAR-100" if options.cifar else "students of the digits"
    title = f"{options.real} guards of {of}"
    machine.show(title, guard_real.table(rows, max_drop, KINDS), as_json=options.json)


if __name__ == "__main__":
    main()
