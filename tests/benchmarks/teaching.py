"""Does teaching help? A spec's student with its teacher and by labels alone, in paired seeds, on the test split.

    python tests/benchmarks/teaching.py SPEC [--set KEY=VALUE …] [--seeds 3] [--storage .tutelage] [--json]

The student is the spec's; where a setting is searched, its first value (`--set` sets another). Teacher and students are trained
in this process, one at a time, on one thread; what is finished is kept, so an interrupted benchmark continues.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke
from tutelage import intervals
from tutelage.files import write_json
from tutelage.measure import Measure
from tutelage.networks import checkpoint, cost
from tutelage.networks.output import Need
from tutelage.spec import loading
from tutelage.spec.sections import TeacherConfig, TrialConfig
from tutelage.spec.spec import Spec
from tutelage.storage.local import LocalStorage
from tutelage.training import inference, loop, student
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.knowledge_plan import KnowledgePlan

TEACHER, DISTILLED, ALONE = "teacher", "student, distilled", "student, labels alone"


def main() -> None:
    parser = smoke.Parser(__doc__, spec=smoke.sentences_spec, seeds=2, storage=lambda: str(smoke.scratch()))
    parser.add_argument("spec")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    pair.one_thread()
    loaded = loading.load(Path(options.spec), options.overrides)
    home = Path(options.storage) / "benchmarks" / f"teaching-{loaded.name}"
    home.mkdir(parents=True, exist_ok=True)
    found = Kept(home / "results.json")
    room = taught(loaded, home, found)
    config = TrialConfig.model_validate(loaded.space.resolve(lambda name, domain: None)[0])
    for seed in range(options.seeds):
        for name in (DISTILLED, ALONE):
            found.make(f"{name}/{seed}", lambda name=name, seed=seed: of_student(config, name, seed, room))
    show(found, room.built_task.measures, options)


class Kept:
    """Measures of trained networks by name, kept in a file as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def make(self, name: str, make: Any) -> None:
        """Add what `make` returns, unless `name` is there."""
        if name not in self.rows:
            self.rows[name] = make()
            print(name, self.rows[name], file=sys.stderr, flush=True)
            write_json(self.path, self.rows)

    def of(self, name: str, measure: str) -> list[float]:
        """Return a measure of all seeds of a name, in their order."""
        rows = {key: row for key, row in self.rows.items() if key.partition("/")[0] == name}
        return [rows[key][measure] for key in sorted(rows, key=lambda key: int(key.partition("/")[2] or 0))]


def taught(loaded: Spec, home: Path, found: Kept, needs: frozenset[Need] = frozenset()) -> TrainingContext:
    """Return the spec's context with its teachers, which are trained here, and their mean output and `needs` in a cache."""
    room, teachers = context_of(loaded), [loaded.teacher, *loaded.more_teachers]
    keys = [f"teacher-{number}" for number in range(len(teachers))]
    for key, teacher in zip(keys, teachers, strict=True):
        found.make(key, lambda key=key, teacher=teacher: of_teacher(teacher, room, home / key))
    plan = KnowledgePlan(
        storage=LocalStorage(home), teachers=tuple((key, 1 / len(keys)) for key in keys), cache="knowledge", needs=needs
    )
    room = replace(room, knowledge=plan)
    entry = plan.entry
    assert entry is not None
    if entry.outline() is None:
        entry.describe(room.teacher_outline)
    for split in ("train", "validation"):
        room.fill(split, 0)
    found.make(TEACHER, lambda: measured(room.teacher, room))
    return room


def of_teacher(teacher: TeacherConfig, room: TrainingContext, directory: Path) -> dict[str, float]:
    """Train one teacher, and return its measures."""
    assert teacher.model is not None, "teachers are trained here"
    about = room.architecture(teacher.model)
    training = loop.Training(checkpoint.seeded(about, room.seed), student.label_only_plan(teacher, room))
    run(training)
    checkpoint.write(directory, training.model, about)
    return measured(training.model, room)


def of_student(config: TrialConfig, name: str, seed: int, room: TrainingContext) -> dict[str, float]:
    """Train one student, and return its measures on the test split and its size."""
    weight = config.distillation.weight if name == DISTILLED else 0.0
    own = config.model_copy(update={"distillation": config.distillation.model_copy(update={"weight": weight})})
    training = loop.Training(student.build(own, room, pair.FIRST_SEED + seed), student.plan(own, room, pair.FIRST_SEED + seed))
    run(training)
    return measured(training.model, room)


def run(training: loop.Training) -> None:
    """Run all epochs, and say how each went."""
    while not training.is_done:
        print({key: round(value, 4) for key, value in training.epoch().items()}, file=sys.stderr, flush=True)


def measured(model: nn.Module, room: TrainingContext) -> dict[str, float]:
    """Return the task's measures on the test split, the primary one on validation, and the size."""
    primary, task = room.built_task.measures[0].name, room.built_task
    on_validation = inference.measured(model, task, room.splits["validation"])[primary]
    return {
        **inference.measured(model, task, room.read("test")), "validation": on_validation,
        "params": float(cost.size(model)["params"]),
    }  # fmt: skip


def verdict(differences: list[float]) -> str:
    """Return what paired differences, positive where teaching is better, allow to say: their 95 % interval decides."""
    if len(differences) < 2:
        return "inconclusive"
    low, high = intervals.mean_interval(differences)
    return "teaching helps" if low > 0 else "teaching hurts" if high < 0 else "inconclusive"


def show(found: Kept, measures: tuple[Measure, ...], options: Any) -> None:
    """Print every network's measures, and the paired gain of teaching in each measure."""
    names = [TEACHER, DISTILLED, ALONE]
    rows: list[dict[str, Any]] = [
        {"network": name, "params": f"{found.of(name, 'params')[0]:,.0f}"}
        | {one.label: pair.spread(found.of(name, one.name)) for one in measures}
        for name in names
    ]
    gains: dict[str, Any] = {"network": "gain of teaching, points (95 %)", "params": ""}
    words: dict[str, Any] = {"network": "verdict", "params": ""}
    for one in measures:
        distilled, alone = found.of(DISTILLED, one.name), found.of(ALONE, one.name)
        gains[one.label] = pair.gain(distilled, alone)
        words[one.label] = verdict([-one.sign * (a - b) for a, b in zip(distilled, alone, strict=True)])
    title = f"{Path(options.spec).stem}: test split, {options.seeds} paired seeds (mean ± sd)"
    machine.show(title, [*rows, gains, words], as_json=options.json)


if __name__ == "__main__":
    main()
