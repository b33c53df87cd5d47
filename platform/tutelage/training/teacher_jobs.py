"""The training of a teacher on Ray Train, with a checkpoint every epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import ray
import torch
from ray import train
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import get_device, prepare_model
from torch import nn

from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint, class_rows
from tutelage.networks.sync_batch_norm import share
from tutelage.networks.weights import load, weights_of
from tutelage.plugins import Reference
from tutelage.spec.sections import PLAIN, ExecutionConfig, RecipeConfig
from tutelage.storage import Storage
from tutelage.training import execution, loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.packing import from_bytes, read, to_bytes
from tutelage.training.plan import TrainingPlan
from tutelage.training.ray_train import Workers, cause_of, fit

KEPT = ("curve", "execution", "timed_ms")  # values of a checkpoint beside the training's state

MAX_LOSSES = 2  # of workers; after each, the training resumes from its checkpoint


@dataclass(frozen=True, kw_only=True)
class TeacherJob:
    """The inputs of a teacher's training, and the storage in which its checkpoints are kept."""

    context: TrainingContext
    model: Reference
    recipe: RecipeConfig
    address: str
    storage: Storage
    execution: ExecutionConfig | Literal["measured"] = PLAIN
    start: str | None = None  # the key of a network whose weights of equal name and shape, and rows of equal classes, are first

    @property
    def checkpoint_key(self) -> str:
        """The key of the last epoch's state, which is removed when the training has finished."""
        return f"runs/teacher-{self.address}.pt"

    def saved(self) -> dict[str, Any] | None:
        """Return the last epoch's state; None before the first epoch has ended."""
        path = self.storage.local_path(self.checkpoint_key)
        return read(path) if path.exists() else None

    def plan(self) -> TrainingPlan:
        """Return the teacher's training plan."""
        return student.label_only_plan(self.recipe, self.context)


@dataclass(frozen=True, kw_only=True)
class TrainedTeacher:
    """A trained network in evaluation mode, its epoch rows (see `loop.Training.epoch`), and its execution mode.

    `timed_ms` has the milliseconds a step of each mode that was timed; it is empty if the job sets the mode.
    """

    model: nn.Module
    curve: list[dict[str, float]]
    execution: ExecutionConfig
    timed_ms: dict[str, float]


def train_teacher(job: TeacherJob, workers: Workers) -> TrainedTeacher:
    """Train a teacher on Ray Train.

    A checkpoint is written every epoch. After a worker is lost, or the driver restarts, the training resumes from the last
    checkpoint. Several workers share each batch and average their gradients, so the batch size is the recipe's.
    """
    assert workers.workers >= 1, "a teacher is trained in a process of its own"
    try:
        weights, saved = fit(lambda: _train_in_worker(job), workers, max_losses=MAX_LOSSES)
    except (train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise WorkFailed(f"the teacher's training failed: {cause_of(error)}") from error
    model = load(checkpoint.build(job.context.architecture(job.model)), from_bytes(weights)).eval()
    job.storage.remove(job.checkpoint_key)
    mode = ExecutionConfig(**saved["execution"])
    return TrainedTeacher(model=model, curve=saved["curve"], execution=mode, timed_ms=saved["timed_ms"])


def _train_in_worker(job: TeacherJob) -> tuple[bytes, dict[str, Any]]:
    """Train the teacher in this worker; return its weights, and the values stored with each checkpoint (`KEPT`)."""
    worker = train.get_context()
    rank, num_workers = worker.get_world_rank(), worker.get_world_size()
    earlier = job.saved()
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
            job.storage.put(job.checkpoint_key, to_bytes({"training": under_way.state(), **kept}))
        train.report(kept["curve"][-1])
    return to_bytes(weights_of(bare)), kept


def _untrained(job: TeacherJob) -> nn.Module:
    model = checkpoint.seeded(job.context.architecture(job.model), job.context.seed)
    if job.start is not None:
        held, place = model.state_dict(), job.storage.local_path(job.start)
        ours = job.context.architecture(job.model)
        first = class_rows.matched(checkpoint.read_weights(place), checkpoint.read_architecture(place), ours)
        fitting = {name: w for name, w in first.items() if w.shape == held[name].shape}
        model.load_state_dict(class_rows.filled(fitting, held), strict=False)
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
