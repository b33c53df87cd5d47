"""Five front points of one training against those of five trainings: epochs and hypervolume on digits.

    python tests/benchmarks/ladder.py [--json] [--seeds 3] [--epochs 40] [--method channels] [--amount 0.8] [--storage DIR]

Every seed has its own split, teacher and students. "five trials" are the whole student and one student of each amount, each
trained for --epochs, with the method's own epochs after the removal. A ladder of e + 4 × r epochs trains the whole student
for e epochs, and each of the four smaller ones, cut from the one before, for r more; by the sandwich rule (of `channels`) the
four recover together for 4 × r epochs. "five trials, as many epochs" share the epochs of the first ladder. Hypervolume is of
test accuracy and parameters, up to 80 % accuracy and 1.25 times the parameters of the whole student, as a share of that box.
Nothing was tuned on these seeds.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke
from tests.contexts import small_config, with_plan
from tutelage import pareto
from tutelage.files import write_json
from tutelage.networks import checkpoint, cost
from tutelage.spec.sections import TeacherConfig, TrialConfig
from tutelage.training import inference, loop, student
from tutelage.training.context import TrainingContext

RUNGS, LEAST_ACCURACY, LARGEST, TEACHER = 4, 0.8, 1.25, {"convnet": {"width": 48, "depth": 3}}
FIVE, FEWER, SANDWICH = "five trials", "five trials, as many epochs", "the first ladder by the sandwich rule"
Row = dict[str, Any]


def taught(seed: int, epochs: int, home: Path) -> TrainingContext:
    """Return the context of a seed, with a teacher that was trained on labels and its cached outputs."""
    context = TrainingContext(data="digits", task="image_classification", seed=seed)
    about = context.architecture(TEACHER)
    plan = student.label_only_plan(TeacherConfig(model=TEACHER, epochs=epochs), context)
    trained = finished(loop.Training(checkpoint.seeded(about, seed), plan))
    checkpoint.write(home / "teacher", trained.model, about)
    room = with_plan(context, home)
    for split in ("train", "validation"):
        room.fill(split, 0)
    return room


def finished(training: loop.Training) -> loop.Training:
    while not training.is_done:
        training.epoch()
    return training


def config_of(
    options: Any, amount: float, epochs: int, recovery: int | None = None, *, sandwich: bool = False
) -> TrialConfig:  # fmt: skip
    """Return the config of a student, of a ladder up to `amount` with `recovery`."""
    config = small_config(weight=0.7)
    ladder = {"rungs": RUNGS, "recovery_epochs": recovery, "sandwich": sandwich} if recovery else None
    config["student"] |= {"model": {"convnet": {"width": 16, "depth": 2}}, "epochs": epochs}
    config["sparsity"] = {"amount": amount, "method": options.method, "ladder": ladder}
    return TrialConfig.model_validate(config)


def points_of(config: TrialConfig, room: TrainingContext) -> list[dict[str, float]]:
    """Return the students of one training: amount, parameters and test accuracy."""
    training = finished(loop.Training(student.build(config, room, room.seed), student.plan(config, room, room.seed)))
    test = room.read("test")
    return [
        {
            "amount": point.amount, "params": cost.size(point.model)["params"],
            "accuracy": inference.measured(point.model, room.built_task, test)["accuracy"],
        }
        for point in training.finish()
    ]  # fmt: skip


def arms_of(options: Any) -> dict[str, list[TrialConfig]]:
    """Return the trainings of each arm by its name."""
    long, short = (options.epochs, max(1, options.epochs * 3 // 20)), (options.epochs * 3 // 5, max(1, options.epochs // 10))
    ladders = [config_of(options, options.amount, epochs + RUNGS * after, after) for epochs, after in (long, short)]
    together = config_of(options, options.amount, options.epochs + RUNGS * long[1], long[1], sandwich=True)
    ladder = ladders[0].sparsity.ladder
    assert ladder is not None
    amounts = (0.0, *ladder.amounts_to(options.amount))
    shared = max(2, ladders[0].student.epochs // len(amounts))
    return {
        FIVE: [config_of(options, amount, options.epochs) for amount in amounts],
        **{
            f"ladder, {one.student.epochs - RUNGS * after} + {RUNGS} × {after}": [one]
            for one, (_, after) in zip(ladders, (long, short), strict=True)
        },
        **({SANDWICH: [together]} if options.method == "channels" else {}),
        FEWER: [config_of(options, amount, shared) for amount in amounts],
    }


def measured(options: Any, seed: int) -> Iterator[tuple[str, Row]]:
    """Yield each arm's students at a seed, with their epochs and their hypervolume."""
    home = smoke.scratch() / f"ladder-{options.method}-{seed}"
    room = taught(seed, options.teacher_epochs, home)
    whole = cost.size(student.blank(arms_of(options)[FIVE][0], room))["params"]
    for name, trainings in arms_of(options).items():
        points = [point for config in trainings for point in points_of(config, room)]
        losses = [[1 - one["accuracy"], one["params"]] for one in points]
        corner = (1 - LEAST_ACCURACY, LARGEST * whole)
        volume = pareto.hypervolume(losses, corner) / math.prod(corner)
        yield name, {"points": points, "hypervolume": volume, "epochs": sum(one.student.epochs for one in trainings)}


def rows_of(found: dict[str, list[Row]]) -> list[Row]:
    """Return the table: epochs and hypervolume of each arm, and its accuracies at each amount."""
    base = found[FIVE]
    rows = []
    for name, seeds in found.items():
        volumes, others = [one["hypervolume"] for one in seeds], [one["hypervolume"] for one in base]
        rows.append({
            "students": name, "epochs": seeds[0]["epochs"], "of five trials": f"{seeds[0]['epochs'] / base[0]['epochs']:.2f}",
            "hypervolume": pair.spread(volumes),
            "less five trials, points (95 %)": pair.gain(volumes, others) if name != FIVE else "",
            **{
                f"{one['amount']:.2f} ({statistics.fmean(seed['points'][number]['params'] for seed in seeds):,.0f} params)":
                pair.spread([seed["points"][number]["accuracy"] for seed in seeds])
                for number, one in enumerate(base[0]["points"])
            },
        })  # fmt: skip
    return rows


def main() -> None:
    parser = smoke.Parser(__doc__, seeds=1, epochs=2, teacher_epochs=1, storage=lambda: str(smoke.scratch()))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of each of the five trials")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--method", default="channels")
    parser.add_argument("--amount", type=float, default=0.8, help="share that is removed from the smallest student")
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(options.storage) / "benchmarks" / f"ladder-{options.method}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Row]] = {}
    for seed in range(options.seeds):
        for name, row in measured(options, seed):
            found.setdefault(name, []).append(row)
            write_json(path, found)
    title = f"{options.method} up to {options.amount:g}; {options.seeds} seeds (mean ± sd), test accuracy at each amount"
    machine.show(title, rows_of(found), as_json=options.json)


if __name__ == "__main__":
    main()
