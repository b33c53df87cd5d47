"""What rules of early stopping keep of a recorded sweep's front, and how many of its epochs they train.

    python tests/benchmarks/stopping.py TABLE [--json] [--orders 20] [--workers 2]
    python tests/benchmarks/stopping.py --record SWEEP_DIRECTORY TABLE

TABLE is a Parquet file that `--record` writes from a finished sweep without early stopping. Each rule meets the same random
orders of arrival. Hypervolume is over log10 of size and of error, of students with all their epochs, as a share of all's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import machine

from tutelage import objectives, store
from tutelage.search import replay
from tutelage.search.rungs import Dominance, Halving, Rule

RUNGS = (1, 3, 9, 27)


def dominance(confidence: float, judged: int) -> Rule:
    return Dominance(num_judged=judged, confidence=confidence)


CONFIDENCES = (0.5, 0.8, 0.9, 0.95)
RULES: dict[str, Callable[[int], Rule | None]] = {
    "none": lambda judged: None,
    "mo-asha": lambda judged: Halving(factor=3),
    **{f"dominance, confidence {c:g}": partial(dominance, c) for c in CONFIDENCES},
}


def compared(table: replay.Table, orders: int, workers: int, judged: int) -> list[dict[str, Any]]:
    rows = []
    for name, rule in RULES.items():
        started_s = time.perf_counter()
        found = []
        for seed in range(orders):
            order = np.random.default_rng(seed).permutation(len(table)).tolist()
            found.append(
                replay.judged(table, replay.replay(table, rule(judged), RUNGS, order, replay.Cluster(workers=workers)))
            )
        seconds = (time.perf_counter() - started_s) / orders
        shown = {key: np.array([row[key] for row in found], dtype=float) for key in found[0]}
        rows.append(
            {"rule": name}
            | {key: f"{v.mean():.3f} ± {v.std(ddof=1):.3f}" for key, v in shown.items()}
            | {"s a replay": f"{seconds:.2f}"}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("table")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", help="directory of a finished sweep")
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--judged", type=int, default=359, help="validation examples")
    options = parser.parse_args()
    if options.record:
        home = store.SweepDir(Path(options.record))
        asked = [objectives.Objective(**fields) for fields in home.facts()["objectives"]]
        replay.recorded(home.records(), asked).write(Path(options.table))
    table = replay.read(Path(options.table))
    size = " students × ".join(map(str, table.errors.shape))
    title = f"{size} epochs, {options.workers} workers, {options.orders} orders (mean ± sd)"
    machine.show(title, compared(table, options.orders, options.workers, options.judged), as_json=options.json)


if __name__ == "__main__":
    main()
