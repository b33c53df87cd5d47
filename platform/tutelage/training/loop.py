"""The training loop of teachers and students. It does not use Ray.

A training has phases: label-only pre-training, distillation, sparsification and fine-tuning. Each phase has its own optimiser
and its own cycle of the learning rate. Two trainings with the same inputs and seed are equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import WorkFailed
from tutelage.networks import process_state
from tutelage.sparsity import Calibration, Method, Point
from tutelage.training import inference, optimizers, sensitivity
from tutelage.training.buckets import bucketed
from tutelage.training.ema import WeightAverage
from tutelage.training.plan import Phase, TrainingPlan
from tutelage.training.step_loss import StepLoss


class Training:
    """A running training: `epoch()` runs the next epoch; `state()` and `restore()` move it between processes."""

    def __init__(self, model: nn.Module, plan: TrainingPlan) -> None:
        self.plan = plan
        self.epochs_done = 0
        self.model = model.train()
        self._train, self._is_labelled = plan.train.to(self._device), plan.train.labelled
        self._sparsity = plan.sparsity() if plan.sparsity else Method(amount=0.0)
        self.model = self._sparsity.start(self.model, self._calibration()).train()
        self._start(plan.phase_at(0)[0], None)

    @property
    def is_done(self) -> bool:
        """Whether all epochs of the recipe are done."""
        return self.epochs_done >= self.plan.recipe.epochs

    def epoch(self) -> dict[str, float]:
        """Run one epoch; return `epoch` (from 1), `train_loss`, the task's measures on validation, and `step_s` (seconds).

        Random numbers that the network draws, such as those of dropout, depend on the plan's seed and on the epoch, not on
        what ran before in this process. Raises `WorkFailed` if the loss is not finite.
        """
        rank, workers = self.plan.shard
        with process_state.seeded((self.plan.seed * 1_000_003 + self.epochs_done) * workers + rank):
            return self._epoch()

    def _epoch(self) -> dict[str, float]:
        phase, done = self.plan.phase_at(self.epochs_done)
        if done == 0 < self.epochs_done:
            self._enter(phase)
        started_s = time.perf_counter()
        loss = self._learn()
        step_s = time.perf_counter() - started_s
        self.epochs_done += 1
        if not torch.isfinite(loss):
            raise WorkFailed(
                f"the loss became {loss.item()} in epoch {self.epochs_done} "
                f"at a learning rate of {self.plan.recipe.learning_rate}."
            )
        return {"epoch": self.epochs_done, "train_loss": loss.item(), **self._measures(), "step_s": step_s}

    def _measures(self) -> dict[str, float]:
        """Return the measures of the averaged weights on validation; at the end, retain these weights."""
        if self._average and self.is_done:
            self._average.put_into(self.model)
        with self._average.in_place_of(self.model) if self._average and not self.is_done else nullcontext():
            return inference.measured(self.model, self.plan.task, self.plan.validation)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs, as tensors and numbers."""
        return {
            "model": {name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            "optimizer": self._optimizer.state_dict(),
            "loss": self.loss.module.state_dict() if self.loss.module else {},
            "average": self._average.state() if self._average else {},
            "sparsity": self._sparsity.state(),
            "epochs_done": self.epochs_done,
        }

    def restore(self, state: Mapping[str, Any], adopt: Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]) -> None:
        """Resume from `state`, whose tensors may be on another device.

        `adopt` loads its weights into the network, and resizes the network if channels were removed.
        """
        self.model = adopt(self._sparsity.restore(self.model, state["sparsity"]), state["model"]).train()
        self.epochs_done = int(state["epochs_done"])
        self._resume(state)

    def to(self, device: torch.device) -> None:
        """Move the training to a device, between two epochs."""
        state = self.state()
        self.model.to(device)
        self._train = self.plan.train.to(device)
        self._resume(state)

    def _resume(self, state: Mapping[str, Any]) -> None:
        """Start the phase of `state` with its optimiser, adapters and average, on the network's device."""
        self._start(self.plan.phase_at(max(0, self.epochs_done - 1))[0], self.loss)
        self._optimizer.load_state_dict(state["optimizer"])
        if self.loss.module:
            self.loss.module.load_state_dict(state["loss"])
        if self._average:
            self._average.restore(state["average"])

    def _enter(self, phase: Phase) -> None:
        """Start the next phase with the final weights of the last one; the optimiser's state is discarded."""
        if self._average:
            self._average.put_into(self.model)
        if phase.sparsifies:
            self.model = self._sparsity.remove(self.model, self._calibration())
        self._start(phase, self.loss)

    def _start(self, phase: Phase, before: StepLoss | None) -> None:
        """Start a phase with a new optimiser and a new average of the current weights; `before` is the earlier phase's loss."""
        recipe = self.plan.recipe
        if self.plan.execution.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.plan.execution.compile:
            self.model.compile()
        self.loss = StepLoss(self.model, self.plan, self._train, phase, before)
        self._optimizer = self._new_optimizer()
        self._average = WeightAverage(self.model, recipe.average_decay) if recipe.average_decay else None

    def final_state(self) -> dict[str, Any]:
        """Return the final weights of a finished training, on the CPU, for `load_final_state`."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        return {"model": weights, "sparsity": self._sparsity.state()}

    def load_final_state(
        self, state: Mapping[str, Any], adopt: Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]
    ) -> None:  # fmt: skip
        """Finish with the final weights of the same training in another process."""
        self.model = adopt(self._sparsity.restore(self.model, state["sparsity"]), state["model"])
        self.epochs_done = self.plan.recipe.epochs

    def finish(self) -> Sequence[Point]:
        """Return the candidates of the finished training, in evaluation mode."""
        points = self._sparsity.finish(self.model.eval(), self._calibration())
        for point in points:
            point.model.eval()
        return points

    def _calibration(self) -> Calibration:
        """Return what a sparsity method may measure the network on; all workers of a training have the same."""
        rows = self._unsharded_batches()

        def batches(count: int) -> Iterator[tuple[Tensor, ...]]:
            return (self._train.take(one.to(self._device)).arguments for one in rows[:count])

        def losses(count: int) -> Iterator[Tensor]:
            return (self.loss(one, self.epochs_done) for one in rows[:count])

        return Calibration(
            arguments=self._train.take(slice(2)).arguments, steps=self.plan.recipe.epochs * len(rows),
            rates=self._rates_before_removal(len(rows)), seed=self.plan.seed, batches=batches, losses=losses,
            loss_of=partial(sensitivity.label_loss, plan=self.plan), latency_ms=partial(sensitivity.latency_ms, plan=self.plan),
        )  # fmt: skip

    def _rates_before_removal(self, steps_per_epoch: int) -> float:
        """Return the sum of the learning rates of all steps before the first removal."""
        recipe = self.plan.recipe
        phases = takewhile(lambda one: not one.sparsifies, self.plan.phases or (Phase(epochs=recipe.epochs),))
        return sum(one.rate * optimizers.sum_of_rates(recipe, one.epochs * steps_per_epoch) for one in phases)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _new_optimizer(self) -> torch.optim.Optimizer:
        adapters = list(self.loss.module.parameters()) if self.loss.module else []
        return optimizers.optimizer(self.plan.recipe, list(self.model.parameters()), adapters)

    def batches(self) -> list[Tensor]:
        """Return this epoch's batches of row numbers; each epoch has its own order, and a short last batch is dropped.

        A label-only epoch uses only labelled examples; they are repeated, so that the epoch has the same length.
        """
        rank, workers = self.plan.shard
        return [batch[rank::workers] for batch in self._unsharded_batches()]

    def _unsharded_batches(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + self.epochs_done)
        order = torch.randperm(len(self.plan.train), generator=generator)
        phase, _ = self.plan.phase_at(self.epochs_done)
        if self.plan.distillation_in(phase) is None and not self._is_labelled.all():
            order = self._labelled_rows(generator)
        size = min(self.plan.recipe.batch_size, len(order))
        return bucketed(self.plan.train, order, size, generator)

    def _labelled_rows(self, generator: torch.Generator) -> Tensor:
        labelled = self._is_labelled.nonzero().flatten()
        repeats = -(-len(self.plan.train) // len(labelled))
        shuffled = [labelled[torch.randperm(len(labelled), generator=generator)] for _ in range(repeats)]
        return torch.cat(shuffled)[: len(self.plan.train)]

    def _learn(self) -> Tensor:
        self.model.train()
        batches = self.batches()
        phase, done = self.plan.phase_at(self.epochs_done)
        schedule = optimizers.SCHEDULES[self.plan.recipe.schedule]
        total = torch.zeros((), device=self._device)
        for position, rows in enumerate(batches):
            rate = phase.rate * schedule((done * len(batches) + position + 1) / (phase.epochs * len(batches) + 1))
            for group in self._optimizer.param_groups:
                group["lr"] = self.plan.recipe.learning_rate * rate
            total += self.step(rows)
        return total.cpu() / len(batches)

    def step(self, rows: Tensor) -> Tensor:
        """Update the network with the examples of `rows`; return the loss, without synchronising the device."""
        loss, penalty = self.loss(rows, self.epochs_done), self._sparsity.penalty(self.model)
        if penalty is not None:
            loss = loss + penalty
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._sparsity.after_step(self.model, self._optimizer.param_groups[0]["lr"])
        if self._average:
            self._average.update(self.model)
        return loss.detach()
