"""What a search over temperature, weight and method is worth against the published settings, as they are printed.

    python tests/benchmarks/published.py PATH [--json] [--seeds 5] [--trials 20] [--confirmed 5] [--storage .tutelage]

PATH is CIFAR-100's folder; what is trained stands in cifar100_pair.yaml. A search of 20 trials takes its best on validation,
and once more the best of its 5 best after two fresh seeds each; then these and each published setting are trained with the
same further seeds and judged on the test split. The published settings
are weights of sums, a · labels + b · loss: here the share is b / (a + b), which Muon's steps, free of scale, do not tell apart.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke
from tutelage.records import fronts, sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.trial import TrialRecord
from tutelage.spec import loading, spec
from tutelage.sweep import pipeline
from tutelage.training import cluster
from tutelage.training.context import TrainingContext

ALONE, SEARCHED, CONFIRMED = "labels alone", "searched", "searched and confirmed"
CONFIRMING_SEEDS, FIRST_CONFIRMING_SEED = 2, 700
PUBLISHED: dict[str, dict[str, Any]] = {
    "KD, T 4, 0.1 / 0.9 (Tian et al., 2020)": {"method": "kd", "temperature": 4.0, "weight": 0.9},
    "DKD, T 4, α 1, β 8 (Zhao et al., 2022)": {"method": {"dkd": {"beta": 8.0}}, "temperature": 4.0, "weight": 0.5},
    "KD standardised, T 2, weight 9 (Sun et al., 2024)": {
        "method": {"kd": {"standardise": True}}, "temperature": 2.0, "weight": 9 / 9.1,
    },
    "DIST, T 4, β 2, γ 2 (Huang et al., 2022)": {
        "method": {"dist": {"beta": 2.0, "gamma": 2.0}}, "temperature": 4.0, "weight": 0.5,
    },
}  # fmt: skip
SPACE: dict[str, Any] = {
    "temperature": {"float": [1, 16], "log": True},
    "weight": {"float": [0.3, 0.98]},
    "method": {
        "choice": {
            "kd": {"standardise": {"choice": [False, True]}},
            "dkd": {"beta": {"float": [1, 10]}},
            "dist": {},
        }
    },
}


def searched(loaded: spec.Spec, trials: int) -> list[TrialRecord]:
    """Return the search's trials, the best on validation first; a search that is there already is read."""
    name = f"published-{trials}"
    tree = {**loaded.resolved(), "name": name, "distillation": SPACE}
    tree["search"] = {**tree["search"], "trials": trials, "objectives": ["accuracy"]}
    home = sweeps.sweep_at(loaded.storage, name)
    if not home.has_started() or home.facts()["state"] != "finished":
        home = pipeline.sweep(loading.from_dict(tree))
    return sorted(fronts.candidates(home), key=lambda record: -record.measures["accuracy"])


def confirmed(best: list[TrialRecord], room: TrainingContext, home: Path) -> TrialRecord:
    """Return which of the best trials has the highest mean on validation over fresh seeds."""
    results = pair.Results(home / "confirmed.json")
    configs = {record.trial_id: record.config for record in best}
    results.train(configs, CONFIRMING_SEEDS, room, home / "confirmed", FIRST_CONFIRMING_SEED)
    return max(best, key=lambda record: statistics.fmean(results.of(record.trial_id, "accuracy")))


def said(record: TrialRecord) -> str:
    params = ", ".join(f"{name.partition('.')[2]} {value:.3g}" if isinstance(value, float) else str(value)
                       for name, value in record.params.items())  # fmt: skip
    return f"{record.measures['accuracy']:.4f} in the search ({params})"


def main() -> None:
    parser = smoke.Parser(
        __doc__, path=smoke.cifar, seeds=1, trials=2, confirmed=1, storage=lambda: str(smoke.scratch()), overrides=pair.TINY
    )
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--confirmed", type=int, default=5)
    parser.add_argument("--storage", default=".tutelage")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    pair.one_thread()
    loaded = pair.asked(options, "dkd")
    home = Path(options.storage) / "benchmarks"
    home.mkdir(parents=True, exist_ok=True)
    results = pair.Results(home / "published.json")
    with cluster.cluster(None, Dispatcher()):
        found, room = searched(loaded, options.trials), pair.context_of(loaded)
        best = {SEARCHED: found[0], CONFIRMED: confirmed(found[: options.confirmed], room, home)}
        configs = {ALONE: pair.config_of(loaded, "kd", weight=0.0)} | {name: record.config for name, record in best.items()}
        configs |= {name: pair.config_of(loaded, raw=True, **setting) for name, setting in PUBLISHED.items()}
        results.train(configs, options.seeds, room, home / "published")
    own, taken = (results.of(name, "test") for name in (SEARCHED, CONFIRMED))
    rows = [
        {
            "setting": name,
            "test accuracy": pair.spread(results.of(name, "test")),
            "validation accuracy": pair.spread(results.of(name, "accuracy")),
            f"{SEARCHED} less this, points (95 %)": "" if name == SEARCHED else pair.gain(own, results.of(name, "test")),
            f"{CONFIRMED} less this, points (95 %)": "" if name == CONFIRMED else pair.gain(taken, results.of(name, "test")),
        }
        for name in configs
    ]
    told = "; ".join(f"{name}: {record.trial_id}, {said(record)}" for name, record in best.items())
    title = f"{options.trials} trials, {options.seeds} seeds (mean ± sd). {told}"
    machine.show(title, rows, as_json=options.json)


if __name__ == "__main__":
    main()
