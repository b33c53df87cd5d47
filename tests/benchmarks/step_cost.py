"""What learning from a teacher adds to a training step: cached knowledge, a live teacher, and labels alone.

    python tests/benchmarks/step_cost.py [--json] [--rounds 40] [--seeds 3]

The same digits student, batch and optimiser each time. The three kinds take turns, an epoch's worth of steps each a
round, so that a drift of the machine meets all alike; a ratio is taken round by round and its median is shown.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tests.benchmarks.outputs import logits_of
from tutelage.losses import PerSequence, kd
from tutelage.networks import checkpoint, cost
from tutelage.spec.sections import RecipeConfig
from tutelage.training import inference, loop
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Distillation, TrainingPlan

STUDENTS: dict[str, Any] = {
    "convnet width 16 depth 2": {"convnet": {"width": 16, "depth": 2}},
    "convnet width 8 depth 3": {"convnet": {"width": 8, "depth": 3}},
    "mlp hidden 64": {"mlp": {"hidden": 64}},
}
TEACHER = {"convnet": {"width": 48, "depth": 3}}
RECIPE = RecipeConfig(epochs=100_000, batch_size=64, learning_rate=0.003, weight_decay=0.01)


def knowledge(query: inference.TeacherQuery) -> Distillation:
    return Distillation(query=query, build=lambda _: PerSequence({"class": kd.SoftTargets(4.0)}), weight=0.7)


def trainings(model: Any, context: TrainingContext, seed: int) -> dict[str, loop.Training]:
    torch.manual_seed(seed)
    train, task = context.splits["train"], context.built_task
    teacher = checkpoint.build(context.architecture(TEACHER))
    logits = logits_of(teacher, task, train).half()
    queries: dict[str, inference.TeacherQuery | None] = {
        "labels alone": None,
        "cached": lambda view, rows, seen: {"logits.class": logits[rows]},
        "live": inference.live(teacher, task, frozenset()),
    }
    found = {}
    for name, query in queries.items():
        plan = TrainingPlan(
            task=task, train=train, validation=context.splits["validation"], recipe=RECIPE, seed=seed,
            signature=context.signature,
            distillation=None if query is None else knowledge(query),
        )  # fmt: skip
        found[name] = loop.Training(checkpoint.build(context.architecture(model)), plan)
    return found


def seconds(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


def compare(name: str, model: Any, rounds: int, seeds: int) -> dict[str, Any]:
    context = TrainingContext(data="digits", task="image_classification", seed=0)
    steps = len(context.splits["train"]) // RECIPE.batch_size
    ratios: dict[str, list[float]] = {"cached": [], "live": []}
    plain_ms: list[float] = []
    for seed in range(seeds):
        kinds = trainings(model, context, seed)
        for position in range(-3, rounds):
            taken = {kind: seconds(under_way._learn) for kind, under_way in kinds.items()}
            if position >= 0:
                plain_ms.append(taken["labels alone"] / steps * 1e3)
                for kind, found in ratios.items():
                    found.append(taken[kind] / taken["labels alone"])
    built = checkpoint.build(context.architecture(model))
    return {
        "student": name,
        "params": int(cost.size(built)["params"]),
        "labels alone, ms a step": statistics.median(plain_ms),
        "cached ÷ labels alone": statistics.median(ratios["cached"]),
        "sd": machine.deviation(ratios["cached"]),
        "live ÷ labels alone": statistics.median(ratios["live"]),
        "sd of live": machine.deviation(ratios["live"]),
    }


def main() -> None:
    parser = smoke.Parser(__doc__, rounds=1, seeds=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [compare(name, model, options.rounds, options.seeds) for name, model in STUDENTS.items()]
    machine.show(f"Cost of a step, {options.seeds} seeds × {options.rounds} rounds, one thread", rows, as_json=options.json)


if __name__ == "__main__":
    main()
