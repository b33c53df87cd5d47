"""What accuracy is left at 2, 4 and 8 times fewer MACs: penalties, scores, random removal, torch-pruning, from scratch.

    python tests/benchmarks/removal.py PATH [--json] [--seeds 3] [--storage .tutelage] [--at-once 1] [--only NAME …]
    python tests/benchmarks/removal.py PATH --report [--page docs/benchmarks/removal.md]  # of what is trained, at any time

PATH is CIFAR-100's folder; teacher and student stand in cifar100_pair.yaml, the student with --width. A student is trained for
--dense epochs under each penalty; then channels are removed by each score until its MACs are at most the wanted part; batch
norms are measured again; and it is trained for --recovery epochs more, with its teacher or on labels alone. "from scratch" is a
student that is built with about the wanted MACs and trained for all of these epochs. "torch-pruning" is that library's own
recipe for CIFAR (group norm with sparse learning, global, no weight decay before the removal). Every row has the same seeds,
optimiser and epochs; nothing was tuned. Every row is stored as it comes, so that an interrupted run continues; one with other
options has a file of its own.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import ray
import torch
import torch_pruning
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import pair, removal_tables, smoke
from tests.benchmarks.removal_tables import MODES, PEER, RANDOM, RATIOS, SCRATCH, SPR, UNPENALISED, Row
from tutelage.data import SplitName
from tutelage.files import write_json
from tutelage.networks import cost
from tutelage.records.dispatcher import Dispatcher
from tutelage.sparsity import Method, channels, spr
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES, recalibrate
from tutelage.spec import loading, spec
from tutelage.spec.sections import TrialConfig
from tutelage.training import cluster, inference, loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Phase

SLIMMING, PEERS_PENALTY, BISECTIONS = 1e-3, 5e-4, 8


@dataclass(frozen=True)
class Arm:
    """One way to a smaller student: the penalty of the dense training, and what is removed after it.

    With several `rungs`, each removes the same share of what the one before left, and has its part of the recovery.
    """

    penalty: str
    score: str
    allocation: str = "network"
    rungs: int = 1

    @property
    def is_bisected(self) -> bool:
        """Whether the share that leaves the wanted MACs is found by trying."""
        return self.score != "peer" and self.allocation == "network"


ARMS = {
    SPR: Arm("group", "l2"),
    UNPENALISED: Arm("none", "l2"),
    "taylor, no penalty": Arm("none", "taylor"),
    "bn_scale, no penalty": Arm("none", "bn_scale"),
    "l2 by sensitivity, no penalty": Arm("none", "l2", "sensitivity"),
    "l2 by sensitivity in 3 rungs, no penalty": Arm("none", "l2", "sensitivity", rungs=3),
    "SPR by sensitivity": Arm("group", "l2", "sensitivity"),
    "slimming (L1 of the scales, bn_scale)": Arm("scales", "bn_scale"),
    RANDOM: Arm("none", "random"),
    PEER: Arm("peer", "peer"),
}


class ScalesPenalty(Method):
    """The L1 penalty of all batch norms' scales (Liu et al., 2017)."""

    def penalty(self, model: nn.Module) -> Tensor | None:
        return SLIMMING * torch.stack([m.weight.abs().sum() for m in model.modules() if isinstance(m, nn.BatchNorm2d)]).sum()


class Job(NamedTuple):
    """The trainings that one process does: the dense one of a penalty and all that follows from it, or those from scratch."""

    penalty: str
    seed: int
    arms: dict[str, Arm]
    spec: dict[str, Any]
    dense: int
    recovery: int

    def missing(self, found: Collection[str]) -> set[str]:
        """Return the names of this job's rows that are not yet found."""
        names = self.arms or {SCRATCH}
        return {f"{name}/{ratio}/{mode}/{self.seed}" for name in names for ratio in RATIOS for mode in MODES} - {*found}


def peer(model: nn.Module, arguments: tuple[Tensor, ...]) -> Any:
    """Return torch-pruning's pruner with the options of its own CIFAR recipe."""
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2, normalizer="max")
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    return torch_pruning.pruner.GroupNormPruner(
        model, arguments[0], importance=importance, reg=PEERS_PENALTY,
        global_pruning=True, pruning_ratio=1.0, iterative_steps=400, ignored_layers=[last],
        in_channel_groups={}, out_channel_groups={}, num_heads={},
    )  # fmt: skip


def recipe(config: TrialConfig, epochs: int, **other: float) -> TrialConfig:
    return config.model_copy(update={"student": config.student.model_copy(update={"epochs": epochs, **other})})


def training(config: TrialConfig, room: TrainingContext, seed: int, model: nn.Module, distilled: bool) -> loop.Training:
    """Return the training of `model` with the config's recipe in one phase."""
    plan = student.plan(config, room, seed)
    return loop.Training(model, replace(plan, phases=(Phase(epochs=config.student.epochs, is_distilled=distilled),)))


def run(some: loop.Training) -> loop.Training:
    while not some.is_done:
        some.epoch()
    return some


def dense(job: Job, config: TrialConfig, room: TrainingContext) -> loop.Training:
    """Return the finished training of the dense student under the job's penalty, always with its teacher."""
    penalties: dict[str, Callable[[], Method]] = {
        "group": partial(spr.build, spr.Config(), 0.5), "scales": partial(ScalesPenalty, 0.0)
    }  # fmt: skip
    plan = replace(student.plan(config, room, job.seed), phases=(Phase(epochs=job.dense),), sparsity=penalties.get(job.penalty))
    found = loop.Training(student.build(config, room, job.seed), plan)
    if job.penalty == "peer":
        sparse_learning = peer(found.model, room.splits["train"].take(slice(2)).arguments)
        found._optimizer.register_step_pre_hook(lambda *_: sparse_learning.regularize(found.model))
        while not found.is_done:
            sparse_learning.update_regularizer()
            found.epoch()
    return run(found)


def macs_of(model: nn.Module, room: TrainingContext) -> float:
    return cost.macs(model, room.signature)["macs"]


def fork(some: loop.Training) -> loop.Training:
    """Return a copy of a training that shares the data."""
    return copy.deepcopy(some, {id(one): one for one in (some.plan, some._train, some._is_labelled)})


def removed(some: loop.Training, arm: Arm, target: float, room: TrainingContext) -> nn.Module:
    """Return the trained network without its weakest channels: the most that the arm leaves within `target` MACs."""
    one, low, high, best = fork(some), 0.0, 0.95, None
    if arm.score == "peer":
        pruner = peer(one.model, some.plan.train.take(slice(2)).arguments)
        while macs_of(one.model, room) > target:
            pruner.step()
        return one.model
    config = channels.Config.model_validate({"score": arm.score, "allocation": arm.allocation})
    if not arm.is_bisected:
        share = 1.0 - target / macs_of(one.model, room)
        return channels.build(config, share).remove(one.model, one._calibration())
    for _ in range(BISECTIONS):
        share, one = (low + high) / 2, fork(some)
        smaller = channels.remove_channels(config, one.model, one._calibration(), share)
        if macs_of(smaller, room) > target:
            low = share
        else:
            high, best = share, smaller
    assert best is not None
    return best


def in_rungs(
    some: loop.Training, arm: Arm, ratio: int, config: TrialConfig, room: TrainingContext, seed: int, distilled: bool
) -> nn.Module:  # fmt: skip
    """Return the trained network after the arm's rungs, each with a recovery of the config's epochs, as on a ladder."""
    model, calibration = fork(some).model, some._calibration()
    method = channels.build(channels.Config.model_validate({"score": arm.score, "allocation": arm.allocation}), 0.0)
    for rung in range(1, arm.rungs + 1):
        method.amount = 1.0 - ratio ** (-rung / arm.rungs)
        model = method.remove(model, calibration)
        recalibrate(model, calibration.batches(RECALIBRATION_BATCHES))
        model = run(training(config, room, seed, model, distilled)).model
    return model


def judged(model: nn.Module, room: TrainingContext) -> Row:
    return {
        "test": accuracy(model, room, "test"),
        "validation": accuracy(model, room, "validation"),
        "macs": macs_of(model, room),
    }


def accuracy(model: nn.Module, room: TrainingContext, split: SplitName) -> float:
    return inference.measured(model, room.built_task, room.read(split))[room.built_task.measures[0].name]


def results(job: Job, room: TrainingContext, missing: set[str]) -> Iterator[tuple[str, Row]]:
    """Yield the missing rows of a job by "arm/ratio/mode/seed", and that of its dense student."""
    torch.set_num_threads(1)
    loaded = loading.from_dict(job.spec)
    config = TrialConfig.model_validate(pair.config_of(loaded, "kd", weight=loaded.resolved()["distillation"]["weight"]))
    yield from (scratch if job.penalty == SCRATCH else smaller_students)(job, config, room, missing)


def smaller_students(job: Job, config: TrialConfig, room: TrainingContext, missing: set[str]) -> Iterator[tuple[str, Row]]:
    started_s = time.process_time()
    trained = dense(job, recipe(config, job.dense, **({"weight_decay": 0.0} if job.penalty == "peer" else {})), room)
    epoch_s = (time.process_time() - started_s) / job.dense
    whole = judged(trained.model, room)
    yield f"dense, penalty {job.penalty}/1/distilled/{job.seed}", whole
    for (name, arm), ratio in ((one, ratio) for ratio in RATIOS for one in job.arms.items()):
        modes = {f"{name}/{ratio}/{mode}/{job.seed}": distilled for mode, distilled in MODES.items()}
        if not (wanted := {key: distilled for key, distilled in modes.items() if key in missing}):
            continue
        if arm.rungs > 1:
            for key, distilled in wanted.items():
                model = in_rungs(trained, arm, ratio, recipe(config, job.recovery // arm.rungs), room, job.seed, distilled)
                yield key, judged(model, room)
            continue
        started_s = time.process_time()
        model = removed(trained, arm, whole["macs"] / ratio, room)
        removal_s = (time.process_time() - started_s) / (BISECTIONS if arm.is_bisected else 1)
        recalibrate(model, trained._calibration().batches(RECALIBRATION_BATCHES))
        before = accuracy(model, room, "validation")
        for key, distilled in wanted.items():
            last = run(training(recipe(config, job.recovery), room, job.seed, copy.deepcopy(model), distilled))
            yield key, {**judged(last.model, room), "before": before, "removal_s": removal_s, "epoch_s": epoch_s}


def scratch(job: Job, config: TrialConfig, room: TrainingContext, missing: set[str]) -> Iterator[tuple[str, Row]]:
    """Yield the rows of students that are built with the wanted MACs and trained for all epochs."""
    options = job.spec["student"]["model"]["resnet"]

    def of_width(width: int) -> TrialConfig:
        model = {"resnet": {**options, "width": width}}
        return config.model_copy(update={"student": config.student.model_copy(update={"model": model})})

    sizes = {width: macs_of(student.blank(of_width(width), room), room) for width in range(2, options["width"] + 1)}
    for ratio in RATIOS:
        target = sizes[options["width"]] / ratio
        width = min(sizes, key=lambda one: abs(sizes[one] - target))
        for mode, distilled in MODES.items():
            key = f"{SCRATCH}/{ratio}/{mode}/{job.seed}"
            if key not in missing:
                continue
            smaller = recipe(of_width(width), job.dense + job.recovery)
            last = run(training(smaller, room, job.seed, student.build(smaller, room, job.seed), distilled))
            yield key, judged(last.model, room)


def jobs_of(options: Any, loaded: spec.Spec) -> list[Job]:
    arms = {name: arm for name, arm in ARMS.items() if name in options.only}
    penalties = sorted({arm.penalty for arm in arms.values()}) + [SCRATCH] * (SCRATCH in options.only)
    common = {"spec": loaded.resolved(), "dense": options.dense, "recovery": options.recovery}
    return [
        Job(penalty, pair.FIRST_SEED + seed, {k: arm for k, arm in arms.items() if arm.penalty == penalty}, **common)
        for seed in range(options.seeds)
        for penalty in penalties
    ]


def train(options: Any, loaded: spec.Spec, path: Path, found: dict[str, Row]) -> None:
    """Train what is missing, and add each row to `found` and to the file at `path` as it comes."""
    jobs = [job for job in jobs_of(options, loaded) if job.missing(found)]
    with cluster.cluster(None, Dispatcher()):
        room = ray.put(pair.context_of(loaded))
        cpus = int(ray.cluster_resources()["CPU"])
        remote = ray.remote(num_cpus=max(1, cpus // (options.at_once or cpus)), num_returns="streaming")(results)
        pending = [remote.remote(job, room, job.missing(found)) for job in jobs]
        while pending:
            (ready,), pending = cast(Any, ray.wait(pending))
            try:
                key, row = ray.get(next(ready))
            except StopIteration:
                continue
            found[key] = row
            write_json(path, found)
            pending.append(ready)


def main() -> None:
    parser = smoke.Parser(
        __doc__, path=smoke.cifar, seeds=1, dense=1, recovery=1, width=8, only=[UNPENALISED, PEER, SCRATCH],
        storage=lambda: str(smoke.scratch()), overrides=pair.TINY,
    )  # fmt: skip
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dense", type=int, default=12, help="epochs before the removal")
    parser.add_argument("--recovery", type=int, default=6, help="epochs after it")
    parser.add_argument("--width", type=int, default=24, help="of the dense student")
    parser.add_argument("--only", nargs="*", choices=[*ARMS, SCRATCH], default=[*ARMS, SCRATCH])
    parser.add_argument("--storage", default=".tutelage")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--at-once", type=int, default=0, help="trainings at a time; 0: one for each core")
    parser.add_argument("--report", action="store_true", help="train nothing; give the tables of what is trained")
    parser.add_argument("--page", type=Path, help="write the tables into this page, between its two comments")
    options = parser.parse_args()
    sgd = ["student.optimizer=sgd", "student.learning_rate=0.1", "student.batch_size=64", "student.weight_decay=5e-4"]
    views = f"knowledge.views={min(10, max(options.dense, options.recovery))}"
    sized = [f"student.model.resnet.width={options.width}", f"student.epochs={max(options.dense, options.recovery)}"]
    options.overrides = [*sgd, *sized, views, *options.overrides]
    loaded = pair.asked(options, "kd")
    path = removal_tables.rows_path(options)
    found: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    if not options.report:
        train(options, loaded, path, found)
    title = f"{options.dense} epochs, removal, {options.recovery} epochs"
    removal_tables.show(title, found, [name for name in [*ARMS, SCRATCH] if name in options.only], options)


if __name__ == "__main__":
    main()
