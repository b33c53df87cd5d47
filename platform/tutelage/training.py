"""The one training loop: a network, its examples, and what a teacher knows of them. No Ray in here.

A training runs in one or two phases: `epochs` of learning, then, if channels are to be removed, a share of them on the
smaller network. Each phase has its own one-cycle learning rate. Two trainings of the same inputs and seed are equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import Split
from tutelage.errors import WorkFailed
from tutelage.losses import Loss
from tutelage.tasks import Task

WARM_UP_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast; `fine_tune_epochs` of `epochs` come after the network is made smaller."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float = 0.0
    fine_tune_epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What is learnt beside the labels: `loss` against `logits` `[n, steps, classes]`, and its `weight` in [0, 1]."""

    logits: Tensor
    loss: Loss
    weight: float


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Everything a training reads and never changes; `shard` is (rank, workers) of a data-parallel training."""

    task: Task
    train: Split
    validation: Split
    recipe: Recipe
    seed: int
    teaching: Teaching | None = None
    sparsify: Callable[[nn.Module, Tensor], nn.Module] | None = None
    shard: tuple[int, int] = (0, 1)


def one_cycle(progress: float) -> float:
    """Return the share of the peak learning rate at `progress` in [0, 1]: up in a fifth of the way, then down to 0.

    A linear form of the one-cycle policy (Smith and Topin, 2018).
    """
    rise = progress / WARM_UP_SHARE
    fall = (1.0 - progress) / (1.0 - WARM_UP_SHARE)
    return max(0.0, min(rise, fall))


def logits_of(model: nn.Module, task: Task, inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """Return the label sequences `[n, steps, classes]` of `inputs` `[n, …]` with `model` in evaluation mode."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [task.predict(model, batch.to(device)).float().cpu() for batch in inputs.split(batch_size)]
    model.train(was_training)
    return torch.cat(parts)


def accuracy_of(model: nn.Module, task: Task, split: Split) -> float:
    """Return the share of the split's steps that `model` gets right."""
    return float(task.correct(logits_of(model, task, split.inputs), split.labels).float().mean())


class Training:
    """A training under way; `epoch()` runs the next one, `state()` and `restore()` carry it across processes."""

    def __init__(self, model: nn.Module, lesson: Lesson) -> None:
        self.lesson = lesson
        self.epochs_done = 0
        self.model = model.train()
        self._optimizer = self._new_optimizer()

    @property
    def is_done(self) -> bool:
        """Whether every epoch of the recipe has been run."""
        return self.epochs_done >= self.lesson.recipe.epochs

    def epoch(self) -> dict[str, float]:
        """Run one epoch; return `epoch` (from 1), `train_loss`, `accuracy` on validation, and `step_s`, its seconds.

        Raises `WorkFailed` when the loss is no longer finite.
        """
        if self.epochs_done == self._first_phase_epochs and self.lesson.sparsify:
            self._make_smaller()
        started_s = time.perf_counter()
        loss = self._learn()
        step_s = time.perf_counter() - started_s
        self.epochs_done += 1
        if not torch.isfinite(loss):
            raise WorkFailed(
                f"the loss became {loss.item()} in epoch {self.epochs_done} "
                f"at a learning rate of {self.lesson.recipe.learning_rate}."
            )
        accuracy = accuracy_of(self.model, self.lesson.task, self.lesson.validation)
        return {"epoch": self.epochs_done, "train_loss": loss.item(), "accuracy": accuracy, "step_s": step_s}

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, as tensors and numbers."""
        return {
            "model": {name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            "optimizer": self._optimizer.state_dict(),
            "epochs_done": self.epochs_done,
        }

    def restore(self, state: Mapping[str, Any], adopt: Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]) -> None:
        """Go on from `state`; `adopt` puts its weights into the network, which may have been made smaller since."""
        self.model = adopt(self.model, state["model"]).train()
        self.epochs_done = int(state["epochs_done"])
        self._optimizer = self._new_optimizer()
        self._optimizer.load_state_dict(state["optimizer"])

    @property
    def _first_phase_epochs(self) -> int:
        recipe = self.lesson.recipe
        return recipe.epochs - recipe.fine_tune_epochs

    def _make_smaller(self) -> None:
        assert self.lesson.sparsify is not None
        example = self.lesson.train.inputs[:2].to(self._device)
        self.model = self.lesson.sparsify(self.model, example)
        self._optimizer = self._new_optimizer()

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _new_optimizer(self) -> torch.optim.Optimizer:
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        spared = [p for p in self.model.parameters() if p.ndim <= 1]  # biases and norms
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
        recipe = self.lesson.recipe
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)

    def _progress(self) -> tuple[int, int]:
        """Return (epochs of this phase that are done, epochs of this phase)."""
        first, total = self._first_phase_epochs, self.lesson.recipe.epochs
        return (self.epochs_done, first) if self.epochs_done < first else (self.epochs_done - first, total - first)

    def _batches(self) -> list[Tensor]:
        """Return this epoch's batches of row numbers; every epoch has its own order, a short last batch is left out."""
        generator = torch.Generator().manual_seed(self.lesson.seed * 1_000_003 + self.epochs_done)
        order = torch.randperm(len(self.lesson.train), generator=generator)
        size = min(self.lesson.recipe.batch_size, len(order))
        rank, workers = self.lesson.shard
        return [batch[rank::workers] for batch in order[: len(order) // size * size].split(size)]

    def _learn(self) -> Tensor:
        self.model.train()
        batches = self._batches()
        done, epochs = self._progress()
        total = torch.zeros((), device=self._device)
        for position, rows in enumerate(batches):
            rate = one_cycle((done * len(batches) + position + 1) / (epochs * len(batches) + 1))
            for group in self._optimizer.param_groups:
                group["lr"] = self.lesson.recipe.learning_rate * rate
            total += self._step(rows)
        return total.cpu() / len(batches)

    def _step(self, rows: Tensor) -> Tensor:
        loss = self._loss(rows)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _loss(self, rows: Tensor) -> Tensor:
        lesson, device = self.lesson, self._device
        logits = lesson.task.predict(self.model, lesson.train.inputs[rows].to(device))
        teaching = lesson.teaching
        if teaching is not None and teaching.weight == 1.0:
            return teaching.loss(logits, teaching.logits[rows].to(device, torch.float32))
        label_loss = lesson.task.label_loss(logits, lesson.train.labels[rows].to(device), lesson.recipe.label_smoothing)
        if teaching is None or teaching.weight == 0.0:
            return label_loss
        taught = teaching.loss(logits, teaching.logits[rows].to(device, torch.float32))
        return (1.0 - teaching.weight) * label_loss + teaching.weight * taught


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> dict[str, float]:
    """Return how far a student repeats its teacher on the same examples, both `[n, steps, classes]`.

    `agreement` is the share of steps with the same top class; `teacher_kl_nats` the mean KL(teacher ‖ student) at T = 1.
    """
    same = (student_logits.argmax(-1) == teacher_logits.argmax(-1)).float().mean()
    student = functional.log_softmax(student_logits.flatten(0, 1), dim=-1)
    teacher = functional.log_softmax(teacher_logits.float().flatten(0, 1), dim=-1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return {"agreement": float(same), "teacher_kl_nats": float(divergence)}
