"""Does distillation help, and by which losses? A spec's student with its teacher and by labels alone, on the test split.

    python tests/benchmarks/teaching.py SPEC [--set KEY=VALUE …] [--methods LOSS …] [--seeds 3] [--storage .tutelage] [--json]

The student is the spec's. Where a setting is searched, its lowest value or first choice is taken; `--set` sets another.
`--methods` names losses, such as `kd fitnet "kd + fitnet"`, where the last is the sum of both; without it the spec's loss is
measured. The students of a seed have the same network, initial weights, epochs and order of examples. Teacher and students
are trained in this process, one at a time, on one thread; a teacher with `epochs: 0` is taken as it is. Finished results are
kept, so an interrupted benchmark continues; other settings need another storage.
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
from tutelage import intervals, losses, plugins
from tutelage.files import write_json
from tutelage.measure import Measure
from tutelage.networks import checkpoint, cost
from tutelage.networks.output import Need
from tutelage.spec import loading
from tutelage.spec.sections import ExecutionConfig, TeacherConfig, TrialConfig
from tutelage.spec.spec import Spec
from tutelage.storage.local import LocalStorage
from tutelage.training import inference, loop, student
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.knowledge_plan import KnowledgePlan

TEACHER, DISTILLED, ALONE = "teacher", "student, distilled", "student, labels alone"


def main() -> None:
    parser = smoke.Parser(
        __doc__, spec=smoke.sentences_spec, seeds=2, methods=["kd", "kd + fitnet"], storage=lambda: str(smoke.scratch())
    )
    parser.add_argument("spec")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    pair.one_thread()
    loaded = loading.load(Path(options.spec), options.overrides)
    home = Path(options.storage) / "benchmarks" / f"teaching-{loaded.name}"
    home.mkdir(parents=True, exist_ok=True)
    if not is_of(home / "spec.json", loaded.resolved()):
        parser.error(f"{home} has results of other settings. Choose another --storage.")
    found = Kept(home / "results.json")
    config = TrialConfig.model_validate(next(iter(loaded.space.corners())))
    arms = {name: with_method(config, method_of(name)) for name in options.methods} or {DISTILLED: config}
    if not config.distillation.weight:
        parser.error("the spec's first distillation.weight is 0. Set another: --set distillation.weight=0.7")
    room = taught(loaded, home, found, frozenset().union(*map(needs_of, arms.values())))
    for seed in range(options.seeds):
        for name, own in {ALONE: label_only(config), **arms}.items():
            found.make(f"{name}/{seed}", lambda own=own, seed=seed: of_student(own, seed, room))
    show(found, list(arms), room.built_task.measures, options)


def is_of(path: Path, settings: dict[str, Any]) -> bool:
    """Return whether kept results have these settings, which are kept with the first ones."""
    if not path.exists():
        write_json(path, settings)
    return bool(json.loads(path.read_text()) == settings)


def method_of(name: str) -> Any:
    """Return the loss with this name; names joined by " + " are a mixture of losses with equal weights."""
    terms = name.split(" + ")
    return name if len(terms) == 1 else {"mixture": {"terms": dict.fromkeys(terms, 1.0)}}


def with_method(config: TrialConfig, method: Any) -> TrialConfig:
    """Return the config with another distillation loss."""
    changed = {**config.model_dump(), "distillation": {**config.distillation.model_dump(), "method": method}}
    return TrialConfig.model_validate(changed)


def label_only(config: TrialConfig) -> TrialConfig:
    """Return the config of the same student without a teacher."""
    return config.model_copy(update={"distillation": config.distillation.model_copy(update={"weight": 0.0})})


def needs_of(config: TrialConfig) -> frozenset[Need]:
    """Return what the config's loss compares besides label sequences."""
    _, plugin, options = plugins.configure("losses", config.distillation.method)
    return losses.needs_of(plugin, options)


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
    """Train one teacher, unless it is trained already, and return its measures."""
    assert teacher.model is not None, "teachers are trained here"
    about = room.architecture(teacher.model)
    if not teacher.epochs:
        model = checkpoint.seeded(about, room.seed).eval()
        checkpoint.write(directory, model, about)
        return measured(model, room)
    plan = student.label_only_plan(teacher, room)
    if isinstance(teacher.execution, ExecutionConfig):
        plan = replace(plan, execution=teacher.execution)
    training = loop.Training(checkpoint.seeded(about, room.seed), plan)
    run(training)
    checkpoint.write(directory, training.model, about)
    return measured(training.model, room)


def of_student(config: TrialConfig, seed: int, room: TrainingContext) -> dict[str, float]:
    """Train one student, and return its measures on the test split and its size."""
    seed += pair.FIRST_SEED
    training = loop.Training(student.build(config, room, seed), student.plan(config, room, seed))
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
    """Return the conclusion from paired differences, positive where distillation is better, by their 95 % interval."""
    if len(differences) < 2:
        return "inconclusive"
    low, high = intervals.mean_interval(differences)
    return "distillation helps" if low > 0 else "distillation hurts" if high < 0 else "inconclusive"


def show(found: Kept, arms: list[str], measures: tuple[Measure, ...], options: Any) -> None:
    """Print every network's measures, and for each distilled student its gain and the conclusion from the primary measure."""
    rows = [row_of(found, name, measures, has_gain=name in arms) for name in (TEACHER, ALONE, *arms)]
    title = f"{Path(options.spec).stem}: test split, {options.seeds} paired seeds (mean ± sd)"
    machine.show(title, rows, as_json=options.json)


def row_of(found: Kept, name: str, measures: tuple[Measure, ...], *, has_gain: bool) -> dict[str, Any]:
    """Return a network's size and measures, and the differences from the student by labels alone with a conclusion."""
    row: dict[str, Any] = {"network": name, "params": f"{found.of(name, 'params')[0]:,.0f}"}
    row |= {one.label: pair.spread(found.of(name, one.name)) for one in measures}
    seeds = len(found.of(name, "params"))  # an interrupted benchmark may have more of labels alone
    for one in measures:
        gain = pair.gain(found.of(name, one.name), found.of(ALONE, one.name)[:seeds]) if has_gain else ""
        row[f"{one.label} less that of labels alone, points (95 %)"] = gain
    pairs = zip(found.of(name, measures[0].name), found.of(ALONE, measures[0].name), strict=False)
    row["conclusion"] = verdict([measures[0].sign * (b - a) for a, b in pairs]) if has_gain else ""
    return row


if __name__ == "__main__":
    main()
