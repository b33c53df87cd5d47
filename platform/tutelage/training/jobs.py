"""Teacher, knowledge and student jobs on Ray Train.

A student that fits one device runs its train function in Ray Train's local mode, inside the calling process: no process is
started, so the overhead is milliseconds. A job of one worker runs in local mode in a process of the cluster, which keeps its
imports for the next such job. The same function runs in a worker group if there are several workers.
"""

from __future__ import annotations

import io
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar

import ray
import torch
from ray import train
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchTrainer, get_device, prepare_model
from torch import nn

from tutelage import files, placement, signals
from tutelage.data import SplitName
from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint, process_state
from tutelage.networks.sync_batch_norm import share
from tutelage.networks.weights import load, weights_of
from tutelage.placement import Demand
from tutelage.plugins import Reference
from tutelage.spec.sections import PLAIN, ExecutionConfig, RecipeConfig
from tutelage.training import execution, loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.plan import TrainingPlan

logger = logging.getLogger(__name__)
T = TypeVar("T")
KEPT = ("curve", "execution", "timed_ms")  # beside the state of a teacher's training
MAX_LOSSES = 2  # of workers, in a teacher's training
GROUP_SETTINGS = {
    # The controller takes one report of a worker a poll, every 2 s by default: longer than many epochs.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # A process more, for a warning that is not needed: a job that loses a worker continues from its last epoch.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
ABORT_S = 5.0  # for a worker group to end itself, before it is killed
LOSSES = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorDiedError,
)
PIECE = 2048  # examples of a view that a worker processes at a time


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The resources of a job: the number of workers (0: the calling process), and the CPUs and GPUs of each."""

    workers: int
    cpus: float
    gpus: float


HERE = Workers(workers=0, cpus=0, gpus=0)


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

    @property
    def checkpoint_path(self) -> Path:
        """The file of the last epoch's state, which is removed when the training has finished."""
        return self.runs_dir.resolve() / f"teacher-{self.address}.pt"

    def plan(self) -> TrainingPlan:
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


class _Trainer(TorchTrainer):
    """Ray Train's trainer without its handler of SIGINT, which ends the driver with exit code 1: the interrupt is raised."""

    _controller: Any = None

    def _register_sigint_handler(self, controller: Any) -> None:
        self._controller = controller

    def abort(self) -> None:
        """End the worker group of a `fit` that was left by an exception."""
        if self._controller is not None:
            with suppress(ray.exceptions.RayError):
                ray.get(self._controller.abort.remote(), timeout=ABORT_S)
            ray.kill(self._controller)


def fit(function: Callable[[], T], workers: Workers, *, max_losses: int = 0) -> T:
    """Run `function` through Ray Train and return what the first worker returned.

    It is run again up to `max_losses` times if a worker is lost. Raises what Ray raises: `ray.exceptions.RayError` from one
    worker, `ray.train.TrainingFailedError` from several, and the function's own exceptions from the calling process.
    """
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    if workers.workers == 0:
        return _fit_here(function)
    demand = Demand(name="", workers=workers.workers, cpus=workers.cpus, gpus=workers.gpus)
    if said := placement.waits_for(placement.nodes_of(ray.nodes()), ray.available_resources(), demand):
        logger.warning(said)
    return (_fit_in_a_process if workers.workers == 1 else _fit_in_a_group)(function, workers, max_losses)


def _fit_here(function: Callable[[], T]) -> T:
    trainer: Any = TorchTrainer
    with process_state.preserved():
        value: T = trainer(function, scaling_config=train.ScalingConfig(num_workers=0)).fit().return_value
    return value


def _fit_in_a_process(function: Callable[[], T], workers: Workers, max_losses: int) -> T:
    """Run `function` in a process of the cluster.

    A worker group, even of one, is six processes (controller, placement group cleaner, preemption watcher, autoscaling
    coordinator, synchronisation actor and worker). Each of them imports Ray Train, and all of them end with the job.
    """
    held = ray.put(function)
    # "DEFAULT": outside of the placement group that the calling process may be in
    options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_retries": 0, "scheduling_strategy": "DEFAULT"}
    task = _in_process.options(**options)
    for losses in count():
        running = task.remote([held], max(1, int(workers.cpus)))
        try:
            value: T = ray.get(running)
            return value
        except LOSSES:
            if losses == max_losses:
                raise
        except BaseException:
            ray.cancel(running, force=True)
            raise
    raise AssertionError("the loop ends with a value or an exception")


@ray.remote
def _in_process(held: list[Any], num_threads: int) -> Any:
    torch.set_num_threads(num_threads)
    return fit(ray.get(held[0]), HERE)


def _fit_in_a_group(function: Callable[[], T], workers: Workers, max_losses: int) -> T:
    for name, setting in GROUP_SETTINGS.items():
        os.environ.setdefault(name, setting)
    scaling = train.ScalingConfig(
        num_workers=workers.workers,
        use_gpu=workers.gpus > 0,
        resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
    )
    with tempfile.TemporaryDirectory() as scratch:
        losses = train.FailureConfig(max_failures=max_losses)
        run = train.RunConfig(storage_path=scratch, failure_config=losses)
        trainer: Any = _Trainer(function, scaling_config=scaling, run_config=run)  # type: ignore[arg-type]
        try:
            value: T = trainer.fit().return_value
        except signals.STOPS:
            with signals.deferred():
                trainer.abort()
            raise
    return value


def train_teacher(job: TeacherJob, workers: Workers) -> TrainedTeacher:
    """Train a teacher on Ray Train.

    A checkpoint is written every epoch. After a worker is lost, or the driver restarts, the training resumes from the last
    one. Several workers share each batch and average their gradients, so the batch size is the recipe's.
    """
    assert workers.workers >= 1, "a teacher has a process of its own"
    job.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        weights, saved = fit(lambda: _teach(job), workers, max_losses=MAX_LOSSES)
    except (train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise WorkFailed(f"the teacher's training failed: {cause_of(error)}") from error
    model = load(checkpoint.build(job.context.architecture(job.model)), from_bytes(weights)).eval()
    job.checkpoint_path.unlink(missing_ok=True)
    mode = ExecutionConfig(**saved["execution"])
    return TrainedTeacher(model=model, curve=saved["curve"], execution=mode, timed_ms=saved["timed_ms"])


def is_loss(error: BaseException) -> bool:
    """Return whether an exception of `fit` says that a worker was lost, and not that its function has raised."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", None) or {0: error}
    return any(isinstance(getattr(failure, "failure", failure), LOSSES) for failure in failures.values())


def cause_of(error: BaseException) -> str:
    """Return the first worker's error message without Ray's wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    inner = next(iter(failures.values()), error)
    cause = getattr(inner, "cause", None) or inner
    return f"{type(cause).__name__}: {cause}"


def _teach(job: TeacherJob) -> tuple[bytes, dict[str, Any]]:
    """Train the teacher in this worker; return its weights, and the values stored with each checkpoint (`KEPT`)."""
    worker = train.get_context()
    rank, num_workers = worker.get_world_rank(), worker.get_world_size()
    earlier = torch.load(job.checkpoint_path, weights_only=True) if job.checkpoint_path.exists() else None
    kept: dict[str, Any] = {k: earlier[k] for k in KEPT} if earlier else {"curve": [], **_execution_mode(job, rank)}
    bare = _untrained(job) if num_workers == 1 else share(_untrained(job))
    wrapped = bare.to(get_device()) if num_workers == 1 else prepare_model(bare, move_to_device=True)
    mode = ExecutionConfig(**kept["execution"])
    under_way = loop.Training(wrapped, replace(job.plan(), execution=mode, shard=(rank, num_workers)))
    if earlier:
        under_way.restore(earlier["training"], _load_weights)
    while not under_way.is_done:
        kept["curve"].append(under_way.epoch())
        if rank == 0:
            files.write_atomically(job.checkpoint_path, to_bytes({"training": under_way.state(), **kept}))
        train.report(kept["curve"][-1])
    return to_bytes(weights_of(bare)), kept


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


def _load_weights(model: nn.Module, weights: Any) -> nn.Module:
    model.load_state_dict(weights)
    return model


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
        try:
            fit(lambda: _write_share(context, drafts), workers)
        except (train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise WorkFailed(f"the knowledge job failed: {cause_of(error)}") from error


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
