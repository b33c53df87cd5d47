"""Teacher, knowledge and student jobs on Ray Train. Only this file imports ray.train.

A student that fits one device runs its train function in Ray Train's local mode, inside the calling process: no worker group
is started, so the overhead is milliseconds. With workers, the same function runs in a worker group.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import ray
import torch
from ray import train
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model
from torch import nn

from tutelage.data import SplitName
from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint
from tutelage.networks.sync_batch_norm import share
from tutelage.plugins import Reference
from tutelage.spec.sections import PLAIN, ExecutionConfig, RecipeConfig
from tutelage.training import execution, loop, student
from tutelage.training.context import TrainingContext

T = TypeVar("T")
STATE = "state.pt"
KEPT = ("curve", "execution", "timed_ms")  # beside the state of a teacher's training
POLL_S = "0.25"  # Ray Train's controller takes one report of a worker a poll, 2 s by default: longer than many epochs
PIECE = 2048  # examples of a view that a worker processes at a time


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The resources of a job: the number of workers (0: the calling process), and the CPUs and GPUs of each."""

    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class TeacherJob:
    """The inputs of a teacher's training, and the directory of its run (`runs_dir`, shared by all nodes)."""

    context: TrainingContext
    model: Reference
    recipe: RecipeConfig
    address: str
    runs_dir: Path
    execution: ExecutionConfig | Literal["measured"] = PLAIN
    start: Path | None = None  # a network whose weights, where they fit, are the first ones

    def plan(self) -> loop.TrainingPlan:
        """Return the teacher's training plan."""
        return student.label_only_plan(self.recipe, self.context)


@dataclass(frozen=True, kw_only=True)
class TrainedTeacher:
    """A trained network in evaluation mode, its epoch rows (see `loop.Training.epoch`), and its execution mode.

    `timed_ms` has the milliseconds a step of each mode that was timed; it is empty if the mode was set by the job.
    """

    model: nn.Module
    curve: list[dict[str, float]]
    execution: ExecutionConfig
    timed_ms: dict[str, float]


def fit(function: Callable[[], T], workers: Workers, **options: Any) -> T:
    """Run `function` through Ray Train and return what the first worker returned."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_S)
    scaling = train.ScalingConfig(
        num_workers=workers.workers,
        use_gpu=workers.gpus > 0,
        resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
    )
    trainer: Any = TorchTrainer
    result = trainer(function, scaling_config=scaling, **options).fit()
    value: T = result.return_value
    return value


def _fit_once(function: Callable[[], T], workers: Workers, failure: str) -> T:
    """Run `function` as `_fit` does, without storing the run. Raises `WorkFailed` with `failure` and the reason."""
    with tempfile.TemporaryDirectory() as scratch:
        options = {"run_config": train.RunConfig(storage_path=scratch)} if workers.workers else {}
        try:
            return fit(function, workers, **options)
        except (train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise WorkFailed(f"{failure}: {cause_of(error)}") from error


def train_teacher(job: TeacherJob, workers: Workers) -> TrainedTeacher:
    """Train a teacher on Ray Train.

    A checkpoint is written every epoch. After a worker is lost, or the driver restarts, the training resumes from the last
    one. Several workers share each batch and average their gradients, so the batch size is the recipe's.
    """
    assert workers.workers >= 1, "a teacher runs in a worker group"
    run_config = train.RunConfig(
        name=f"teacher-{job.address}",
        storage_path=str(job.runs_dir.resolve()),
        failure_config=train.FailureConfig(max_failures=2),
        checkpoint_config=train.CheckpointConfig(num_to_keep=1),
    )
    torch_config = TorchConfig(backend="nccl" if workers.gpus else "gloo")
    try:
        weights, saved = fit(lambda: _teach(job), workers, run_config=run_config, torch_config=torch_config)
    except (train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise WorkFailed(f"the teacher's training failed: {cause_of(error)}") from error
    model = checkpoint.adopt(checkpoint.build(job.context.architecture(job.model)), from_bytes(weights)).eval()
    shutil.rmtree(job.runs_dir / f"teacher-{job.address}", ignore_errors=True)
    mode = ExecutionConfig(**saved["execution"])
    return TrainedTeacher(model=model, curve=saved["curve"], execution=mode, timed_ms=saved["timed_ms"])


def cause_of(error: BaseException) -> str:
    """Return the first worker's error message without Ray's wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    inner = next(iter(failures.values()), error)
    return f"{type(inner).__name__}: {getattr(inner, 'cause', None) or inner}"


def _teach(job: TeacherJob) -> tuple[bytes, dict[str, Any]]:
    """Train the teacher in this worker; return its weights, and the values stored with each checkpoint (`KEPT`)."""
    worker = train.get_context()
    rank, num_workers = worker.get_world_rank(), worker.get_world_size()
    earlier = _last_checkpoint()
    kept: dict[str, Any] = {k: earlier[k] for k in KEPT} if earlier else {"curve": [], **_execution_mode(job, rank)}
    bare = _untrained(job) if num_workers == 1 else share(_untrained(job))
    wrapped = bare.to(get_device()) if num_workers == 1 else prepare_model(bare, move_to_device=True)
    mode = ExecutionConfig(**kept["execution"])
    under_way = loop.Training(wrapped, replace(job.plan(), execution=mode, shard=(rank, num_workers)))
    if earlier:
        under_way.restore(earlier["training"], _load_weights)
    while not under_way.is_done:
        kept["curve"].append(under_way.epoch())
        _report(under_way, kept, is_first=rank == 0)
    return to_bytes(checkpoint.weights_of(bare)), kept


def _untrained(job: TeacherJob) -> nn.Module:
    model = checkpoint.seeded(job.context.architecture(job.model), job.context.seed)
    if job.start is not None:
        held = model.state_dict()
        fitting = {name: w for name, w in checkpoint.read_weights(job.start).items() if w.shape == held[name].shape}
        model.load_state_dict(fitting, strict=False)
    return model


def _execution_mode(job: TeacherJob, rank: int) -> dict[str, Any]:
    """Return the execution mode of all workers: the job's, or the fastest that the first worker measures on its device."""
    if job.execution != "measured":
        return {"execution": job.execution.model_dump(), "timed_ms": {}}
    found = None
    if rank == 0:
        with torch.random.fork_rng():
            mode, timed_ms = execution.fastest(lambda: _untrained(job).to(get_device()), job.plan())
        found = {"execution": mode.model_dump(), "timed_ms": timed_ms}
    agreed: dict[str, Any] = broadcast_from_rank_zero(found)
    return agreed


def _last_checkpoint() -> dict[str, Any] | None:
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as directory:
        saved: dict[str, Any] = torch.load(Path(directory) / STATE, weights_only=True)
    return saved


def _load_weights(model: nn.Module, weights: Any) -> nn.Module:
    model.load_state_dict(weights)
    return model


def _report(under_way: loop.Training, kept: dict[str, Any], *, is_first: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = None
        if is_first:
            torch.save({"training": under_way.state(), **kept}, Path(directory) / STATE)
            checkpoint = train.Checkpoint.from_directory(directory)
        train.report(kept["curve"][-1], checkpoint=checkpoint)


def to_bytes(state: dict[str, Any]) -> bytes:
    """Return tensors and numbers by name as bytes, for `from_bytes`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(packed: bytes) -> dict[str, Any]:
    """Return what `to_bytes` gave bytes of; no code in them is run."""
    state: dict[str, Any] = torch.load(io.BytesIO(packed), weights_only=True)
    return state


def write_knowledge(context: TrainingContext, views: Sequence[tuple[SplitName, int]], workers: Workers) -> None:
    """Write the teacher's outputs for `views` into the context's cache entry, in a Ray Train job of any number of workers.

    The workers divide the views into pieces. A view appears in the cache when all its pieces are written.
    """
    plan = context.knowledge
    assert plan is not None and plan.entry is not None
    with ExitStack() as stack:
        drafts: dict[tuple[SplitName, int], Path] = {}
        for split, view in views:
            layouts, examples = context.layouts(split), context.splits[split]
            drafts[split, view] = stack.enter_context(plan.entry.draft(split, view, len(examples), layouts, examples.lengths))
        _fit_once(lambda: _write_share(context, drafts), workers, "the knowledge job failed")


def _write_share(context: TrainingContext, drafts: Mapping[tuple[SplitName, int], Path]) -> None:
    """Write this worker's share of the pieces of all views."""
    worker = train.get_context()
    context.teacher.to(get_device())
    pieces = [
        (draft, split, view, rows)
        for (split, view), draft in drafts.items()
        for rows in torch.arange(len(context.splits[split])).split(PIECE)
    ]
    layouts = {split: context.layouts(split) for _, split, _, _ in pieces}
    for draft, split, view, rows in pieces[worker.get_world_rank() :: worker.get_world_size()]:
        context.write_view(draft, split, view, rows, layouts[split])


def workers_of(resources: Any) -> Workers:
    """Return a job's workers from its section of the spec."""
    return Workers(workers=resources.workers, cpus=resources.cpus, gpus=resources.gpus)
