"""Every distillation loss against labels alone: one teacher, one student of under an eighth of its size, equal budgets.

    python tests/benchmarks/losses.py PATH [--json] [--seeds 3] [--weight 0.7] [--storage .tutelage] [--only NAME …]

PATH is CIFAR-100's folder; what is trained stands in cifar100_pair.yaml. A loss takes `weight` of the whole, by its value at
the start, the labels the rest; so feature losses have no soft targets beside them, but where the row says so. Test accuracy
of the last epoch, in the same seeds for every row; nothing was tuned for any of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke
from tutelage.records.dispatcher import Dispatcher
from tutelage.training import cluster

ALONE = "labels alone"
METHODS: dict[str, Any] = {
    "kd": "kd",
    "kd, standardised": {"kd": {"standardise": True}},
    "dkd": "dkd",
    "dist": "dist",
    "fitnet": "fitnet",
    "attention": "attention",
    "similarity": "similarity",
    "rkd": "rkd",
    "crd": "crd",
    "review": "review",
    "weights, by name": "weights",
    "weights, by depth, subspaces": {"weights": {"match": "depth", "distance": "subspace"}},
    "kd + attention": {"mixture": {"terms": {"kd": 1.0, "attention": 1.0}}},
    "kd + review": {"mixture": {"terms": {"kd": 1.0, "review": 1.0}}},
    "kd + crd": {"mixture": {"terms": {"kd": 1.0, "crd": 1.0}}},
}
TERMS = {"kd": {"standardise": True}, "fitnet": 1.0, "attention": 1.0, "crd": 1.0, "weights": 1.0}
NEEDED = {"mixture": {"terms": TERMS}}  # between them they compare all parts


def main() -> None:
    parser = smoke.Parser(
        __doc__,
        path=smoke.cifar,
        seeds=1,
        only=["kd", "kd + attention"],
        storage=lambda: str(smoke.scratch()),
        overrides=pair.TINY,
    )
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weight", type=float, default=0.7)
    parser.add_argument("--storage", default=".tutelage")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--only", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    pair.one_thread()
    loaded = pair.asked(options, NEEDED)
    home = Path(options.storage) / "benchmarks"
    home.mkdir(parents=True, exist_ok=True)
    results = pair.Results(home / f"losses-{options.weight:g}.json")
    with cluster.cluster(None, Dispatcher()):
        room = pair.context_of(loaded)
        configs = {ALONE: pair.config_of(loaded, "kd", weight=0.0)}
        configs |= {name: pair.config_of(loaded, METHODS[name], weight=options.weight) for name in options.only}
        results.train(configs, options.seeds, room, home / "students")
    alone = results.of(ALONE, "test")
    rows = [
        {
            "loss": name,
            "test accuracy": pair.spread(results.of(name, "test")),
            "gain over labels alone, points (95 %)": "" if name == ALONE else pair.gain(results.of(name, "test"), alone),
            "agreement": pair.spread(results.of(name, "agreement")),
        }
        for name in configs
    ]
    machine.show(f"Losses at weight {options.weight:g}, {options.seeds} seeds (mean ± sd)", rows, as_json=options.json)


if __name__ == "__main__":
    main()
