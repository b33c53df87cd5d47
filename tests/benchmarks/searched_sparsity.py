"""Is a searched sparsity method and amount as good as the best fixed method? Fronts of as many trials each, on the digits.

    python tests/benchmarks/searched_sparsity.py [--json] [--seeds 3] [--trials 16] [--epochs 12] [--storage .tutelage]

A trial trains a convnet on labels under a method and an amount (0.1 to 0.9, in tenths). "searched" has the method, the
allocation of `channels` and the amount chosen by the default sampler, TPE, from accuracy on validation and parameters; each
fixed row has its method given and the amount searched by the same sampler. A front is chosen on validation and judged on the
test split: hypervolume up to 70 % accuracy and 1.25 times the parameters of the whole student, as a share of that box. Equal
students are trained once, and stored as they come. Every row has the same seeds and splits; nothing was tuned on them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke
from tests.contexts import small_config
from tutelage import pareto
from tutelage.files import write_json
from tutelage.networks import cost
from tutelage.search.sampler import Sampler
from tutelage.spec.distributions import parse
from tutelage.spec.sections import TrialConfig
from tutelage.spec.space import Space
from tutelage.training import inference, loop, student
from tutelage.training.context import TrainingContext

LEAST_ACCURACY, LARGEST = 0.7, 1.25
AMOUNT = {"float": [0.1, 0.9], "step": 0.1}
SEARCHED = "searched: method, allocation, amount"
ALLOCATIONS = ("uniform", "network", "sensitivity")
FIXED: dict[str, Any] = {
    **{f"channels, {one}": {"channels": {"allocation": one}} for one in ALLOCATIONS},
    "spr, sensitivity": {"spr": {"allocation": "sensitivity"}},
    "low_rank": {"low_rank": {}},
}
METHODS: dict[str, Any] = {
    SEARCHED: {"choice": {
        "channels": {"allocation": {"choice": [*ALLOCATIONS]}}, "spr": {"allocation": "sensitivity"}, "low_rank": {}
    }},
    **FIXED,
}  # fmt: skip
Row = dict[str, float]  # of one student: its accuracies on validation and test, and its parameters


def config_of(sparsity: dict[str, Any], epochs: int) -> TrialConfig:
    config = small_config()
    config["student"] |= {"model": {"convnet": {"width": 8, "depth": 2}}, "epochs": epochs}
    config["sparsity"] = sparsity
    return TrialConfig.model_validate(config)


def trained(config: TrialConfig, room: TrainingContext) -> Row:
    """Return the student of a config."""
    training = loop.Training(student.build(config, room, room.seed), student.plan(config, room, room.seed))
    while not training.is_done:
        training.epoch()
    (point,) = training.finish()
    validation, test = (
        inference.measured(point.model, room.built_task, room.read(split))["accuracy"] for split in ("validation", "test")
    )
    return {"validation": validation, "test": test, "params": cost.size(point.model)["params"]}


def searched(method: Any, trials: int, seed: int, student_of: Callable[[dict[str, Any]], Row]) -> list[Row]:
    """Return the students of `trials` trials that the default sampler chooses."""
    space = Space(parse({"sparsity": {"amount": AMOUNT, "method": method}}))
    sampler, found = Sampler(space, 2, "tpe", seed), list[Row]()
    for _ in range(trials):
        suggestion = sampler.ask()
        found.append(student_of(suggestion.config["sparsity"]))
        sampler.tell_finished(suggestion.number, [1.0 - found[-1]["validation"], math.log10(found[-1]["params"])], {})
    return found


def hypervolume(students: list[Row], whole: float) -> float:
    """Return the share of the box that the front on validation dominates on the test split."""
    front = pareto.non_dominated_mask([[1.0 - one["validation"], one["params"]] for one in students])
    corner = (1.0 - LEAST_ACCURACY, LARGEST * whole)
    chosen = [[1.0 - one["test"], one["params"]] for one, is_best in zip(students, front, strict=True) if is_best]
    return pareto.hypervolume(chosen, corner) / math.prod(corner)


def table(volumes: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return a row for each method, the searched one first."""
    return [
        {"method": name, "hypervolume": pair.spread(own),
         "searched less this, points (95 %)": "" if name == SEARCHED else pair.gain(volumes[SEARCHED], own)}
        for name, own in volumes.items()
    ]  # fmt: skip


def main() -> None:
    parser = smoke.Parser(__doc__, seeds=1, trials=2, epochs=2, storage=lambda: str(smoke.scratch()))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16, help="of each row and seed")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(options.storage) / "benchmarks" / f"searched-sparsity-{options.epochs}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    volumes: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in range(options.seeds):
        room = TrainingContext(data="digits", task="image_classification", seed=seed)

        def student_of(sparsity: dict[str, Any], room: TrainingContext = room) -> Row:
            key = json.dumps([room.seed, sparsity], sort_keys=True)
            if key not in known:
                known[key] = trained(config_of(sparsity, options.epochs), room)
                write_json(path, known)
            return known[key]

        whole = cost.size(student.blank(config_of({"amount": 0.0}, options.epochs), room))["params"]
        for name, method in METHODS.items():
            volumes[name].append(hypervolume(searched(method, options.trials, seed, student_of), whole))
            print(seed, name, volumes[name][-1], len(known), file=sys.stderr, flush=True)
    title = f"{options.trials} trials of {options.epochs} epochs for each row, {options.seeds} seeds"
    machine.show(title, table(volumes), as_json=options.json)


if __name__ == "__main__":
    main()
