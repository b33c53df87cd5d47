"""What rules of early stopping keep of a recorded table's front, and how many of its epochs they spend.

    python tests/benchmarks/stopping.py SPEC TABLE [--json] [--orders 20] [--students N] [--workers 2] [--rules NAME …]
    python tests/benchmarks/stopping.py --problem zdt1 zdt2 zdt3 dtlz2 …

TABLE is what record.py wrote, its JSON lines, or the directory of a sweep without early stopping; of a textbook problem a
thousand random students are drawn. Each rule meets the same random orders of arrival, each trial with one of the table's seeds,
drawn; what it reached is judged by the mean end over the seeds. Hypervolume is over log10 of size and of error, of students
with all their epochs, as a share of that of all students that came.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tests.benchmarks.problems import PROBLEMS
from tutelage.records import sweeps
from tutelage.search import recorded_table, replay
from tutelage.search.promotion import Promotion
from tutelage.search.rules import Rule
from tutelage.search.rules.dominance import Dominance
from tutelage.search.rules.mo_asha import Halving
from tutelage.spec import loading
from tutelage.spec.space import Space

RUNGS = (1, 3, 9, 27)


def dominance(confidence: float, table: recorded_table.Table, judged: int) -> Rule:
    return Dominance(num_judged=judged, confidence=confidence)


def promotion(share: float, table: recorded_table.Table, judged: int) -> Promotion:
    rungs = [rung for rung in RUNGS if rung < table.max_epochs]
    return Promotion(rungs=rungs, max_epochs=table.max_epochs, share=share, num_students=len(table))


RULES: dict[str, Callable[[recorded_table.Table, int], Rule | Promotion | None]] = {
    "none": lambda table, judged: None,
    "mo-asha": lambda table, judged: Halving(factor=3),
    **{f"dominance, confidence {c:g}": partial(dominance, c) for c in (0.5, 0.9, 0.95)},
    **{f"promotion, share {share:g}": partial(promotion, share) for share in (0.15, 0.2, 0.25, 0.3)},
}


def those(table: recorded_table.Table, rows: Sequence[int]) -> recorded_table.Table:
    """Return the table of some of its students, in that order."""
    kept = list(rows)
    return recorded_table.Table(
        **{name: column[kept] for name, column in vars(table).items() if name != "even"}, even=table.even
    )


def compared(table: recorded_table.Table, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name in options.rules:
        started_s, found = time.perf_counter(), []
        for seed in range(options.orders):
            come = those(table, np.random.default_rng(seed).permutation(len(table))[: options.students or None].tolist())
            rule, cluster = RULES[name](come, options.judged), replay.Cluster(workers=options.workers)
            replayed = replay.replay(come, rule, RUNGS, range(len(come)), cluster, seed=seed)
            found.append(replay.judged(come, replayed))
        seconds = (time.perf_counter() - started_s) / options.orders
        shown = {key: np.array([row[key] for row in found], dtype=float) for key in found[0]}
        spread = {key: f"{v.mean():.3f} ± {v.std(ddof=1) if len(v) > 1 else 0:.3f}" for key, v in shown.items()}
        rows.append({"rule": name, **spread, "s a replay": f"{seconds:.2f}"})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def table_of(path: Path, space: Space) -> recorded_table.Table:
    if not path.is_dir():
        return recorded_table.read(path, space)
    home = sweeps.sweep_at(path.parent.parent, path.name)
    return recorded_table.recorded(home.records(), home.objectives(), space, home.primary())


def main() -> None:
    parser = smoke.Parser(__doc__, problem=["zdt1"], orders=1, students=30)
    parser.add_argument("spec", nargs="?")
    parser.add_argument("table", nargs="?")
    parser.add_argument("--problem", nargs="*", default=[], choices=list(PROBLEMS))
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--students", type=int, default=0, help="how many come; 0: all of the table")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--judged", type=int, default=359, help="validation examples, for dominance")
    parser.add_argument("--rules", nargs="*", default=list(RULES))
    options = parser.parse_args()
    if bool(options.table) == bool(options.problem):
        parser.error("either SPEC and TABLE, or --problem.")
    tables = {name: PROBLEMS[name].tabulate(1000, seed=0) for name in options.problem}
    if options.table:
        tables[options.table] = table_of(Path(options.table), loading.load(options.spec).space)
    for name, table in tables.items():
        size = " × ".join(map(str, table.errors.shape))
        title = f"{name}: {size} students × seeds × epochs, {options.students or len(table)} come, {options.workers} workers, "
        machine.show(f"{title}{options.orders} orders (mean ± sd)", compared(table, options), as_json=options.json)


if __name__ == "__main__":
    main()
