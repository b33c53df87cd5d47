"""Lines of real digits: a reader that a teacher of many times its size taught, against the same reader from texts alone.

    python tests/benchmarks/ocr.py [--json] [--seeds 3] [--lines 1500] [--epochs 8] [--weight 0.7] [--storage .tutelage]

Every arm has the same network, epochs, order of examples and seeds. Error rates are those of 1,000 test lines, whose digits
stand in no other line. Nothing was tuned for any arm. Rows are stored as they come, so that a stopped run goes on.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage.data import SPLITS
from tutelage.networks import checkpoint, cost
from tutelage.networks.output import Need
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.storage.local import LocalStorage
from tutelage.training import inference, loop, student
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.knowledge_plan import KnowledgePlan

ALONE = "texts alone"
METHODS: dict[str, Any] = {
    "kd": "kd",
    "ctc_blank": "ctc_blank",
    "fitnet": "fitnet",
    "ctc_blank + fitnet": {"mixture": {"terms": {"ctc_blank": 1.0, "fitnet": 1.0}}},
}
NEEDS: frozenset[Need] = frozenset({"features"})
Row = dict[str, Any]


def main() -> None:
    parser = smoke.Parser(__doc__, seeds=2, lines=64, epochs=1, storage=lambda: str(smoke.scratch()))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--weight", type=float, default=0.7)
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Path(options.storage) / "benchmarks" / f"ocr-{options.lines}-{options.epochs}-{options.weight:g}"
    home.mkdir(parents=True, exist_ok=True)
    loaded = spec_of(options, "kd", 0.0)
    context = taught(context_of(loaded), loaded, home)
    arms = {ALONE: spec_of(options, "kd", 0.0), **{name: spec_of(options, METHODS[name], options.weight) for name in METHODS}}
    rows = stored(home)
    for seed in range(options.seeds):
        for name, arm in arms.items():
            if (name, seed) not in {(row["arm"], row["seed"]) for row in rows}:
                rows.append({"arm": name, "seed": seed, **run(arm, context, seed)})
                (home / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    teacher = json.loads((home / "teacher.json").read_text(encoding="utf-8"))
    machine.show(f"The teacher: {teacher}", table(rows), as_json=options.json)


def spec_of(options: Any, method: Any, weight: float) -> Spec:
    """Return a spec of one arm."""
    recipe = {"batch_size": 32, "learning_rate": 0.01}
    return loading.from_dict({
        "name": "ocr", "task": "ocr", "data": {"digit_lines": {"lines": options.lines, "shortest": 2, "longest": 5}},
        "teacher": {"model": {"crnn": {"width": 16, "hidden": 96}}, "epochs": options.epochs + options.epochs // 2, **recipe},
        "student": {"model": {"crnn": {"width": 8, "hidden": 24}}, "epochs": options.epochs, **recipe},
        "distillation": {"method": method, "weight": weight},
        "search": {"objectives": ["character_error_rate", "params"]},
    })  # fmt: skip


def taught(context: TrainingContext, loaded: Spec, home: Path) -> TrainingContext:
    """Return the context with the teacher's knowledge; the teacher is trained unless `home` has it."""
    if not (home / "teacher").exists():
        assert loaded.teacher.model is not None
        about = context.architecture(loaded.teacher.model)
        training = loop.Training(checkpoint.seeded(about, 0), student.label_only_plan(loaded.teacher, context))
        while not training.is_done:
            print(training.epoch(), file=sys.stderr, flush=True)
        (home / "teacher.json").write_text(json.dumps(measured(training.model, context)), encoding="utf-8")
        checkpoint.write(home / "teacher", training.model, about)
    plan = KnowledgePlan(storage=LocalStorage(home), teachers=(("teacher", 1.0),), cache="knowledge", needs=NEEDS)
    context = replace(context, knowledge=plan)
    assert plan.entry is not None
    plan.entry.describe(context.teacher_outline)
    context.fill("train", 0)
    return context


def stored(home: Path) -> list[Row]:
    """Return the rows of an earlier run."""
    path = home / "rows.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def run(arm: Spec, context: TrainingContext, seed: int) -> Row:
    """Return the test measures of a student of this arm, its parameters, and the seconds of its training."""
    config = arm.trial_config(arm.space.resolve(lambda name, domain: None)[0])
    training = loop.Training(student.build(config, context, seed), replace(student.plan(config, context, seed), views=1))
    started_s = time.perf_counter()
    while not training.is_done:
        row = training.epoch()
    print(config.distillation.method, seed, row, file=sys.stderr, flush=True)
    return {**measured(training.model, context), "seconds": round(time.perf_counter() - started_s, 1)}


def measured(model: torch.nn.Module, context: TrainingContext) -> Row:
    """Return a network's measures on the test split, and its parameters."""
    found = inference.measured(model.eval(), context.built_task, context.read(SPLITS[2]))
    names = [measure.name for measure in context.built_task.measures]
    return {**{name: found[name] for name in names}, "params": int(cost.size(model)["params"])}


def table(rows: Sequence[Row]) -> list[Row]:
    """Return a row an arm: its means, and its gain over texts alone in paired seeds."""
    by_arm = {name: {row["seed"]: row for row in rows if row["arm"] == name} for name in (ALONE, *METHODS)}
    return [
        {
            "arm": name, "parameters": own[0]["params"], "seeds": len(own),
            "character error rate": spread([row["character_error_rate"] for row in own.values()]),
            "exact match": spread([row["exact_match"] for row in own.values()]),
            "lower error rate than texts alone (95 %)": "" if name == ALONE else gain(own, by_arm[ALONE]),
        }
        for name, own in by_arm.items()
    ]  # fmt: skip


def spread(values: Sequence[float]) -> str:
    """Return a mean and its standard deviation."""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def gain(own: dict[int, Row], alone: dict[int, Row]) -> str:
    """Return the mean paired difference with its 95 % t interval, and what it says."""
    differences = [alone[seed]["character_error_rate"] - row["character_error_rate"] for seed, row in own.items()]
    if len(differences) < 2:
        return f"{differences[0]:+.4f}"
    mean, half = float(np.mean(differences)), float(stats.t.ppf(0.975, len(differences) - 1))
    half *= float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    word = "helps" if mean - half > 0 else "does not help" if mean + half < 0 else "inconclusive"
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f}): {word}"


if __name__ == "__main__":
    main()
