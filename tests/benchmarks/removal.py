"""What accuracy is left at 2, 4 and 8 times fewer MACs: penalties, scores, random removal, torch-pruning, from scratch.

    python tests/benchmarks/removal.py PATH [--json] [--seeds 3] [--storage .tutelage] [--only NAME …]

PATH is CIFAR-100's folder; teacher and student stand in cifar100_pair.yaml, the student with --width. A student is trained for
--dense epochs under each penalty; then channels are removed by each score until its MACs are at most the wanted part; batch
norms are measured again; and it is trained for --recovery epochs more, with its teacher or on labels alone. "from scratch" is a
student that is built with about the wanted MACs and trained for all of these epochs. "torch-pruning" is that library's own
recipe for CIFAR (group norm with sparse learning, global, no weight decay before the removal). Every row has the same seeds,
optimiser and epochs; nothing was tuned. An interrupted run continues.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch
import torch_pruning
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke
from tutelage.files import write_json
from tutelage.networks import cost
from tutelage.records.dispatcher import Dispatcher
from tutelage.sparsity import Calibration, Method, channels, spr
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES, recalibrate
from tutelage.spec import loading, spec
from tutelage.spec.sections import TrialConfig
from tutelage.training import cluster, inference, loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Phase

RATIOS, MODES = (2, 4, 8), {"distilled": True, "labels alone": False}
SLIMMING, PEERS_PENALTY, BISECTIONS = 1e-3, 5e-4, 8
SCRATCH, PEER, UNPENALISED = "from scratch", "torch-pruning", "l2, no penalty"


@dataclass(frozen=True)
class Arm:
    """One way to a smaller student: the penalty of the dense training, and what is removed after it."""

    penalty: str
    score: str


ARMS = {
    "SPR (group penalty, l2)": Arm("group", "l2"),
    UNPENALISED: Arm("none", "l2"),
    "taylor, no penalty": Arm("none", "taylor"),
    "bn_scale, no penalty": Arm("none", "bn_scale"),
    "slimming (L1 of the scales, bn_scale)": Arm("scales", "bn_scale"),
    "random, no penalty": Arm("none", "random"),
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

    @property
    def last_row(self) -> str:
        """The name of the row that a finished job gives last."""
        return f"{[SCRATCH, *self.arms][-1]}/{RATIOS[-1]}/{[*MODES][-1]}/{self.seed}"


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
    model = student.build(config, room, job.seed)
    plan = replace(student.plan(config, room, job.seed), phases=(Phase(epochs=job.dense),), sparsity=penalties.get(job.penalty))
    found = loop.Training(model, plan)
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
    shared = (some.plan, some._train, some._is_labelled)
    return copy.deepcopy(some, {id(one): one for one in shared})


def removed(some: loop.Training, score: str, target: float, room: TrainingContext) -> nn.Module:
    """Return the trained network without its weakest channels: the most that `score` leaves within `target` MACs."""
    if score == "peer":
        model = fork(some).model
        pruner = peer(model, some.plan.train.take(slice(2)).arguments)
        while macs_of(model, room) > target:
            pruner.step()
        return model
    low, high, best = 0.0, 0.95, None
    for _ in range(BISECTIONS):
        share, one = (low + high) / 2, fork(some)
        config = channels.Config.model_validate({"score": score, "uniform": False})
        smaller = channels.remove_channels(config, one.model, one._calibration(), share)
        if macs_of(smaller, room) > target:
            low = share
        else:
            high, best = share, smaller
    assert best is not None
    return best


def judged(model: nn.Module, room: TrainingContext) -> dict[str, float]:
    name = room.built_task.measures[0].name
    test, validation = (inference.measured(model, room.built_task, room.read(split))[name] for split in ("test", "validation"))
    return {"test": test, "validation": validation, "macs": macs_of(model, room)}


def results(job: Job, room: TrainingContext) -> dict[str, dict[str, float]]:
    """Return the rows of a job by "arm/ratio/mode/seed"."""
    torch.set_num_threads(1)
    loaded = loading.from_dict(job.spec)
    config = TrialConfig.model_validate(pair.config_of(loaded, "kd", weight=loaded.resolved()["distillation"]["weight"]))
    return dict(scratch(job, config, room) if job.penalty == SCRATCH else smaller_students(job, config, room))


def smaller_students(job: Job, config: TrialConfig, room: TrainingContext) -> Iterator[tuple[str, dict[str, float]]]:
    started_s = time.perf_counter()
    trained = dense(
        job, recipe(config, job.dense, weight_decay=0.0) if job.penalty == "peer" else recipe(config, job.dense), room
    )
    epoch_s = (time.perf_counter() - started_s) / job.dense
    whole = judged(trained.model, room)
    yield f"dense, penalty {job.penalty}/1/distilled/{job.seed}", whole
    for (name, arm), ratio in ((one, ratio) for one in job.arms.items() for ratio in RATIOS):
        started_s = time.perf_counter()
        model = removed(trained, arm.score, whole["macs"] / ratio, room)
        removal_s = (time.perf_counter() - started_s) / (1 if arm.score == "peer" else BISECTIONS)
        calibration: Calibration = trained._calibration()
        recalibrate(model, calibration.batches(RECALIBRATION_BATCHES))
        before = judged(model, room)["validation"]
        for mode, distilled in MODES.items():
            last = run(training(recipe(config, job.recovery), room, job.seed, copy.deepcopy(model), distilled))
            row = {**judged(last.model, room), "before": before, "removal_s": removal_s, "epoch_s": epoch_s}
            yield f"{name}/{ratio}/{mode}/{job.seed}", row


def scratch(job: Job, config: TrialConfig, room: TrainingContext) -> Iterator[tuple[str, dict[str, float]]]:
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
            smaller = recipe(of_width(width), job.dense + job.recovery)
            last = run(training(smaller, room, job.seed, student.build(smaller, room, job.seed), distilled))
            yield f"{SCRATCH}/{ratio}/{mode}/{job.seed}", judged(last.model, room)


def jobs_of(options: Any, loaded: spec.Spec) -> list[Job]:
    arms = {name: arm for name, arm in ARMS.items() if name in options.only}
    penalties = sorted({arm.penalty for arm in arms.values()}) + [SCRATCH] * (SCRATCH in options.only)
    common = {"spec": loaded.resolved(), "dense": options.dense, "recovery": options.recovery}
    return [
        Job(penalty, pair.FIRST_SEED + seed, {k: arm for k, arm in arms.items() if arm.penalty == penalty}, **common)
        for seed in range(options.seeds)
        for penalty in penalties
    ]


def rows_of(found: dict[str, dict[str, float]], seeds: int) -> list[dict[str, Any]]:
    """Return the table: a row for each arm, ratio and mode, compared with torch-pruning at the same seeds."""

    def values(name: str, ratio: int, mode: str, measure: str) -> list[float]:
        keys = [f"{name}/{ratio}/{mode}/{pair.FIRST_SEED + seed}" for seed in range(seeds)]
        return [found[key][measure] for key in keys if key in found]

    rows = []
    for ratio, mode in ((ratio, mode) for ratio in RATIOS for mode in MODES):
        others = {name: values(name, ratio, mode, "test") for name in (PEER, UNPENALISED)}
        own = [name for name in ARMS if name not in (PEER, "random, no penalty") and values(name, ratio, mode, "test")]
        for name in [*ARMS, SCRATCH]:
            tests = values(name, ratio, mode, "test")
            if tests:
                rows.append(_row(ratio, mode, name, tests, others, values(name, ratio, mode, "macs")))
        if len(own) > 1:
            chosen = [max(own, key=lambda name: values(name, ratio, mode, "validation")[seed]) for seed in range(seeds)]
            tests = [values(name, ratio, mode, "test")[seed] for seed, name in enumerate(chosen)]
            macs = [values(name, ratio, mode, "macs")[seed] for seed, name in enumerate(chosen)]
            rows.append(_row(ratio, mode, "the best of ours on validation", tests, others, macs))
    return rows


def _row(
    ratio: int, mode: str, name: str, tests: list[float], others: dict[str, list[float]], macs: list[float]
) -> dict[str, Any]:  # fmt: skip
    gains = {
        f"less {other}, points (95 %)": pair.gain(tests, values) if name != other and len(values) == len(tests) else ""
        for other, values in others.items()
    }
    return {
        "fewer MACs": f"{ratio}×", "recovery": mode, "student": name, "test accuracy": pair.spread(tests), **gains,
        "MACs": f"{statistics.fmean(macs):,.0f}",
    }  # fmt: skip


def main() -> None:
    parser = smoke.Parser(
        __doc__, path=smoke.cifar, seeds=1, dense=1, recovery=1, width=8, only=[UNPENALISED, PEER, SCRATCH],
        storage=lambda: str(smoke.scratch()), overrides=pair.TINY,
    )  # fmt: skip
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dense", type=int, default=8, help="epochs before the removal")
    parser.add_argument("--recovery", type=int, default=4, help="epochs after it")
    parser.add_argument("--width", type=int, default=24, help="of the dense student")
    parser.add_argument("--only", nargs="*", default=[*ARMS, SCRATCH])
    parser.add_argument("--storage", default=".tutelage")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    sgd = ["student.optimizer=sgd", "student.learning_rate=0.05", "student.weight_decay=5e-4"]
    sized = [f"student.model.resnet.width={options.width}", f"student.epochs={max(options.dense, options.recovery)}"]
    options.overrides = [*sgd, *sized, *options.overrides]
    loaded = pair.asked(options, "kd")
    path = Path(options.storage) / "benchmarks" / "removal.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    with cluster.cluster(None, Dispatcher()):
        room = ray.put(pair.context_of(loaded))
        one_core = ray.remote(num_cpus=1)(results)
        pending = [one_core.remote(job, room) for job in jobs_of(options, loaded) if job.last_row not in found]
        while pending:
            (done,), pending = ray.wait(pending)
            found |= ray.get(done)
            write_json(path, found)
    rows = rows_of(found, options.seeds)
    title = f"{options.dense} epochs, removal, {options.recovery} epochs; {options.seeds} seeds (mean ± sd)"
    machine.show(title, rows, as_json=options.json)
    for name, row in sorted(found.items()):
        if name.startswith("dense"):
            print(f"{name}: {row['test']:.4f}")


if __name__ == "__main__":
    main()
