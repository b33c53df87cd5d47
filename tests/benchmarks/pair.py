"""What the benchmarks of methods share: the pair of cifar100_pair.yaml, its students trained and judged on the test split."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import smoke
from tutelage import intervals
from tutelage.files import write_json
from tutelage.networks import checkpoint
from tutelage.spec import loading, spec
from tutelage.storage import open_storage
from tutelage.sweep import knowledge, teachers
from tutelage.training import context, inference, ray_train, student_jobs
from tutelage.training.context import TrainingContext

HERE = Path(__file__).parent
FIRST_SEED = 500


TINY = (
    *smoke.SHORT,
    "data.cifar.per_class=3",
    "student.epochs=2",
    "teacher.model.resnet.width=16",
    "student.model.resnet.width=8",
)


def asked(options: argparse.Namespace, method: Any) -> spec.Spec:
    """Return the pair's spec over CIFAR-100 in the folder `options.path`, its cache holding what a `method` compares."""
    overrides = [f"data.cifar.path={options.path}", f"storage={options.storage}", *options.overrides]
    loaded = loading.load(HERE / "cifar100_pair.yaml", overrides)
    return loading.from_dict({**loaded.resolved(), "distillation": {"method": method}})


def context_of(loaded: spec.Spec) -> TrainingContext:
    """Return the pair's context, its teacher and knowledge made or reused."""
    room = context.context_of(loaded)
    return knowledge.ensure_knowledge(loaded, room, teachers.ensure_teachers(loaded, room, print), print)


def config_of(loaded: spec.Spec, method: Any, *, weight: float, temperature: float = 4.0, raw: bool = False) -> dict[str, Any]:
    """Return the pair's student with this much of a method."""
    config, _ = loaded.space.resolve(lambda name, domain: None)
    return {**config, "distillation": {"method": method, "weight": weight, "temperature": temperature, "raw": raw}}


class Results:
    """Accuracies of students by name and seed, kept in a file as they come, so that an interrupted benchmark goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}

    def train(
        self,
        configs: Mapping[str, dict[str, Any]],
        seeds: int,
        room: TrainingContext,
        directory: Path,
        first_seed: int = FIRST_SEED,
    ) -> None:
        """Train what is missing, as many at a time as there are cores, and judge it on validation and test."""
        wanted = {
            f"{name}/{seed}": (config, first_seed + seed)
            for name, config in configs.items()
            for seed in range(seeds)
            if f"{name}/{seed}" not in self.rows
        }
        test, task = room.read("test"), room.built_task
        keys = list(wanted)
        students = open_storage(directory)
        for start in range(0, len(keys), 6):
            some = {key.replace("/", "@"): wanted[key] for key in keys[start : start + 6]}
            measured = dict(student_jobs.train_students(some, room, students, ray_train.Workers(workers=0, cpus=1, gpus=0)))
            for key, (measures,) in measured.items():
                right = inference.measured(checkpoint.read(directory / key)[0], task, test)[task.measures[0].name]
                self.rows[key.replace("@", "/")] = {**measures, "test": right}
            write_json(self.path, self.rows)

    def of(self, name: str, measure: str) -> list[float]:
        """Return a measure of all seeds of a name, in their order."""
        found = [
            (int(key.rpartition("/")[2]), row[measure]) for key, row in self.rows.items() if key.rpartition("/")[0] == name
        ]
        return [value for _, value in sorted(found)]


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation."""
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def gain(values: Sequence[float], others: Sequence[float]) -> str:
    """Return the mean difference of paired seeds in points, with its 95 % interval."""
    differences = [100 * (a - b) for a, b in zip(values, others, strict=True)]
    if len(differences) < 2:
        return f"{differences[0]:+.2f}"
    low, high = intervals.mean_interval(differences)
    return f"{statistics.fmean(differences):+.2f} ({low:+.2f} to {high:+.2f})"


def one_thread() -> None:
    """Keep this process, which only waits and judges, off the students' cores."""
    torch.set_num_threads(1)
