"""The one training loop: a network, its examples, and what a teacher knows of them. No Ray in here.

A training runs in one or two phases: `epochs` of learning, then, if channels are to be removed, a share of them on the
smaller network. Each phase has its own one-cycle learning rate. Two trainings of the same inputs and seed are equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage import answers, augment, optimisation
from tutelage.average import WeightAverage
from tutelage.data import Split
from tutelage.errors import WorkFailed
from tutelage.losses import Answer, Loss, Need
from tutelage.spec_sections import AS_IT_IS, PLAIN, AugmentationConfig, ExecutionConfig, RecipeConfig
from tutelage.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """What is learnt beside the labels, with its `weight` in [0, 1].

    `known` holds the teacher's parts, each `[views, n, …]` (see `knowledge`); an epoch is taught by the view that it shows.
    `build` makes the loss for a network, which compares what is in `needs`; `weights` gives the teacher's weights cut to a
    network's shapes. The first `pretrain_epochs` learn from labels alone.
    """

    known: Mapping[str, Tensor]
    build: Callable[[nn.Module], Loss]
    weight: float
    needs: frozenset[Need] = frozenset()
    weights: Callable[[nn.Module], Mapping[str, Tensor]] | None = None
    pretrain_epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Everything a training reads and never changes; `shard` is (rank, workers) of a data-parallel training.

    An epoch shows one view of every example; after `views` of them the first one comes again (0: never). Views depend on
    `view_seed`, order on `seed`. The last `fine_tune_epochs` come after the network is made smaller by `sparsify`.
    """

    task: Task
    train: Split
    validation: Split
    recipe: RecipeConfig
    seed: int
    augmentation: AugmentationConfig = AS_IT_IS
    execution: ExecutionConfig = PLAIN
    views: int = 1
    view_seed: int = 0
    teaching: Teaching | None = None
    sparsify: Callable[[nn.Module, Tensor], nn.Module] | None = None
    fine_tune_epochs: int = 0
    shard: tuple[int, int] = (0, 1)


class Training:
    """A training under way; `epoch()` runs the next one, `state()` and `restore()` carry it across processes."""

    def __init__(self, model: nn.Module, lesson: Lesson) -> None:
        self.lesson = lesson
        self.epochs_done = 0
        self.model = model.train()
        self._train = lesson.train.to(self._device)
        self._start_phase()

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
        return {"epoch": self.epochs_done, "train_loss": loss.item(), "accuracy": self._accuracy(), "step_s": step_s}

    def _accuracy(self) -> float:
        """Return the accuracy on validation of what the training would end with now; at its end, end with that."""
        if self._average and self.is_done:
            self._average.put_into(self.model)
        with self._average.in_place_of(self.model) if self._average and not self.is_done else nullcontext():
            return answers.accuracy_of(self.model, self.lesson.task, self.lesson.validation)

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, as tensors and numbers."""
        return {
            "model": {name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            "optimizer": self._optimizer.state_dict(),
            "loss": self._loss_module.state_dict() if self._loss_module else {},
            "average": self._average.state() if self._average else {},
            "epochs_done": self.epochs_done,
        }

    def restore(self, state: Mapping[str, Any], adopt: Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]) -> None:
        """Go on from `state`; `adopt` puts its weights into the network, which may have been made smaller since."""
        self.model = adopt(self.model, state["model"]).train()
        self.epochs_done = int(state["epochs_done"])
        self._start_phase()
        self._optimizer.load_state_dict(state["optimizer"])
        if self._loss_module:
            self._loss_module.load_state_dict(state["loss"])
        if self._average:
            self._average.restore(state["average"])

    @property
    def _first_phase_epochs(self) -> int:
        return self.lesson.recipe.epochs - self.lesson.fine_tune_epochs

    def _make_smaller(self) -> None:
        assert self.lesson.sparsify is not None
        self.model = self.lesson.sparsify(self.model, self._train.seen(slice(2)))
        self._start_phase()

    def _start_phase(self) -> None:
        """Begin with a fresh optimiser and a fresh average of the weights that are there now."""
        recipe = self.lesson.recipe
        if self.lesson.execution.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.lesson.execution.compile:
            self.model.compile()
        self._loss_module = self._new_loss()
        self._optimizer = self._new_optimizer()
        self._average = WeightAverage(self.model, recipe.average_decay) if recipe.average_decay else None

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _new_loss(self) -> Loss | None:
        """Return the distillation loss for the network as it is now; what it has to learn starts from the lesson's seed."""
        teaching = self.lesson.teaching
        self._teachers_weights: Mapping[str, Tensor] = {}
        if teaching is None or teaching.weight == 0.0:
            return None
        if "weights" in teaching.needs and teaching.weights is not None:
            self._teachers_weights = {k: w.to(self._device) for k, w in teaching.weights(self.model).items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.lesson.seed)
            return teaching.build(self.model).to(self._device)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        adapters = list(self._loss_module.parameters()) if self._loss_module else []
        return optimisation.optimizer(self.lesson.recipe, list(self.model.parameters()), adapters)

    def _progress(self) -> tuple[int, int]:
        """Return (epochs of this phase that are done, epochs of this phase)."""
        first, total = self._first_phase_epochs, self.lesson.recipe.epochs
        return (self.epochs_done, first) if self.epochs_done < first else (self.epochs_done - first, total - first)

    def batches(self) -> list[Tensor]:
        """Return this epoch's batches of row numbers; every epoch has its own order, a short last batch is left out."""
        generator = torch.Generator().manual_seed(self.lesson.seed * 1_000_003 + self.epochs_done)
        order = torch.randperm(len(self.lesson.train), generator=generator)
        size = min(self.lesson.recipe.batch_size, len(order))
        rank, workers = self.lesson.shard
        return [batch[rank::workers] for batch in order[: len(order) // size * size].split(size)]

    def _learn(self) -> Tensor:
        self.model.train()
        batches = self.batches()
        done, epochs = self._progress()
        schedule = optimisation.SCHEDULES[self.lesson.recipe.schedule]
        total = torch.zeros((), device=self._device)
        for position, rows in enumerate(batches):
            rate = schedule((done * len(batches) + position + 1) / (epochs * len(batches) + 1))
            for group in self._optimizer.param_groups:
                group["lr"] = self.lesson.recipe.learning_rate * rate
            total += self.step(rows)
        return total.cpu() / len(batches)

    def step(self, rows: Tensor) -> Tensor:
        """Learn from the examples of `rows`; return the loss, not waited for."""
        loss = self._loss(rows)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        if self._average:
            self._average.update(self.model)
        return loss.detach()

    @property
    def _view(self) -> int:
        return self.epochs_done % self.lesson.views if self.lesson.views else self.epochs_done

    def _loss(self, rows: Tensor) -> Tensor:
        teaching, seen = self.lesson.teaching, self._seen(rows)
        if teaching is None or self._loss_module is None or self.epochs_done < teaching.pretrain_epochs:
            return self._label_loss(self._answered(seen.inputs, frozenset())["logits"], seen)
        parts = self._answered(seen.inputs, teaching.needs)
        taught: Tensor = self._loss_module(self._own_answer(parts), self._teachers_answer(teaching, rows))
        if teaching.weight == 1.0:
            return taught
        return (1.0 - teaching.weight) * self._label_loss(parts["logits"], seen) + teaching.weight * taught

    def _seen(self, rows: Tensor) -> augment.Batch:
        """Return the epoch's view of the examples; in the first epochs, if the recipe says so, at half their size."""
        lesson = self.lesson
        seen = augment.batch(self._train, rows.to(self._device), self._view, lesson.augmentation, lesson.view_seed)
        if self.epochs_done >= lesson.recipe.half_size_share * lesson.recipe.epochs:
            return seen
        return replace(seen, inputs=functional.avg_pool2d(seen.inputs, 2))

    def _own_answer(self, parts: Mapping[str, Tensor]) -> Answer:
        return answers.answer_from(parts, dict(self.model.named_parameters()) if self._teachers_weights else {})

    def _teachers_answer(self, teaching: Teaching, rows: Tensor) -> Answer:
        parts = {part: known[self._view, rows].to(self._device, torch.float32) for part, known in teaching.known.items()}
        return answers.answer_from(parts, self._teachers_weights)

    def _answered(self, inputs: Tensor, needs: frozenset[Need]) -> dict[str, Tensor]:
        execution = self.lesson.execution
        if execution.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=execution.bfloat16):
            parts = answers.answered(self.model, self.lesson.task, inputs, needs)
        return {**parts, "logits": parts["logits"].float()}

    def _label_loss(self, logits: Tensor, seen: augment.Batch) -> Tensor:
        task, smoothing = self.lesson.task, self.lesson.recipe.label_smoothing
        losses = task.label_losses(logits, seen.labels, smoothing)
        if seen.partner_labels is not None and seen.share is not None:
            losses = seen.share * losses + (1 - seen.share) * task.label_losses(logits, seen.partner_labels, smoothing)
        return losses.mean()
