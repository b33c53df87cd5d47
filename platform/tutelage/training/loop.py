"""The training loop of teachers and students. It does not use Ray.

A training has phases: label-only pre-training, distillation, sparsification and fine-tuning. Each phase has its own optimiser
and its own cycle of the learning rate. Two trainings with the same inputs and seed are equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import Batch, Examples
from tutelage.errors import WorkFailed
from tutelage.losses import Loss
from tutelage.networks import capture, process_state
from tutelage.networks.output import Need, Output
from tutelage.signature import Signature
from tutelage.sparsity import Method, Point
from tutelage.spec.sections import AS_IT_IS, PLAIN, AugmentationConfig, ExecutionConfig, RecipeConfig
from tutelage.tasks import Task, with_targets
from tutelage.training import augment, inference, optimizers
from tutelage.training.buckets import bucketed
from tutelage.training.ema import WeightAverage


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The distillation of a training: the teacher's query, its loss, and the `weight` of this loss in [0, 1].

    `query(view, rows, batch)` returns the parts of the teacher's outputs (see `networks.capture`) for the examples `rows` of a
    view, whose `batch` is on the network's device. `build` returns the loss for a network; the loss compares `needs`.
    `weights` are the teacher's.
    """

    query: inference.TeacherQuery
    build: Callable[[nn.Module], Loss]
    weight: float
    needs: frozenset[Need] = frozenset()
    weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs of a training, with distillation or label-only, at `rate` times the recipe's learning rate.

    Before a phase that `sparsifies`, channels are removed from the network.
    """

    epochs: int
    is_distilled: bool = True
    sparsifies: bool = False
    rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The constant inputs of a training; `shard` is (rank, workers) of a data-parallel training.

    Each epoch uses one view of every example. Views repeat after `views` epochs (0: never). Views depend on `view_seed`, and
    the order of the examples on `seed`. The epochs of `phases` sum to the recipe's; without phases, the training is one phase.
    """

    task: Task
    train: Examples
    validation: Examples
    signature: Signature
    recipe: RecipeConfig
    seed: int
    augmentation: AugmentationConfig = AS_IT_IS
    execution: ExecutionConfig = PLAIN
    views: int = 1
    view_seed: int = 0
    distillation: Distillation | None = None
    phases: tuple[Phase, ...] = ()
    sparsity: Callable[[], Method] | None = None
    shard: tuple[int, int] = (0, 1)

    def phase_at(self, epochs_done: int) -> tuple[Phase, int]:
        """Return the phase of the next epoch (at the end, the last phase) and the number of its epochs that are done."""
        for phase in self.phases[:-1]:
            if epochs_done < phase.epochs:
                return phase, epochs_done
            epochs_done -= phase.epochs
        return (self.phases[-1] if self.phases else Phase(epochs=self.recipe.epochs)), epochs_done


class Training:
    """A running training: `epoch()` runs the next epoch; `state()` and `restore()` move it between processes."""

    def __init__(self, model: nn.Module, plan: TrainingPlan) -> None:
        self.plan = plan
        self.epochs_done = 0
        self.model = model.train()
        self._loss_module: Loss | None = None
        self._train, self._is_labelled = plan.train.to(self._device), plan.train.labelled
        self._sparsity = plan.sparsity() if plan.sparsity else Method(amount=0.0)
        self.model = self._sparsity.start(self.model, self._arguments).train()
        self._start(plan.phase_at(0)[0])

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
            "loss": self._loss_module.state_dict() if self._loss_module else {},
            "average": self._average.state() if self._average else {},
            "sparsity": self._sparsity.state(),
            "epochs_done": self.epochs_done,
        }

    def restore(self, state: Mapping[str, Any], adopt: Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]) -> None:
        """Resume from `state`; `adopt` loads its weights into the network, and resizes the network if channels were removed."""
        self.model = adopt(self._sparsity.restore(self.model, state["sparsity"]), state["model"]).train()
        self.epochs_done = int(state["epochs_done"])
        self._start(self.plan.phase_at(max(0, self.epochs_done - 1))[0])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._loss_module:
            self._loss_module.load_state_dict(state["loss"])
        if self._average:
            self._average.restore(state["average"])

    def _enter(self, phase: Phase) -> None:
        """Start the next phase with the final weights of the last one; the optimiser's state is discarded."""
        if self._average:
            self._average.put_into(self.model)
        if phase.sparsifies:
            self.model = self._sparsity.remove(self.model, self._arguments)
        self._start(phase)

    def _start(self, phase: Phase) -> None:
        """Start a phase with a new optimiser and a new average of the current weights."""
        recipe = self.plan.recipe
        if self.plan.execution.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.plan.execution.compile:
            self.model.compile()
        self._loss_module = self._new_loss(phase, self._loss_module)
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
        points = self._sparsity.finish(self.model.eval(), self._arguments)
        for point in points:
            point.model.eval()
        return points

    @property
    def _arguments(self) -> tuple[Tensor, ...]:
        """The network's arguments for two examples."""
        return self._train.take(slice(2)).arguments

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _new_loss(self, phase: Phase, before: Loss | None) -> Loss | None:
        """Return the distillation loss for the current network; its adapters are initialised by the plan's seed.

        It inherits the state of the earlier phase's loss, `before`, where shapes fit: adapters, and initial values of terms.
        """
        distillation = self.plan.distillation
        self._teachers_weights: Mapping[str, Tensor] = {}
        if distillation is None or distillation.weight == 0.0 or not phase.is_distilled:
            return None
        self._teachers_weights = {name: weight.to(self._device) for name, weight in distillation.weights.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.plan.seed)
            loss = distillation.build(self.model).to(self._device)
        own, earlier = loss.state_dict(), before.state_dict() if before else {}
        fitting = {name: t for name, t in earlier.items() if name in own and own[name].shape == t.shape}
        loss.load_state_dict(fitting, strict=False)
        return loss

    def _new_optimizer(self) -> torch.optim.Optimizer:
        adapters = list(self._loss_module.parameters()) if self._loss_module else []
        return optimizers.optimizer(self.plan.recipe, list(self.model.parameters()), adapters)

    def batches(self) -> list[Tensor]:
        """Return this epoch's batches of row numbers; each epoch has its own order, and a short last batch is dropped.

        A label-only epoch uses only labelled examples; they are repeated, so that the epoch has the same length.
        """
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + self.epochs_done)
        order = torch.randperm(len(self.plan.train), generator=generator)
        if self._loss_module is None and not self._is_labelled.all():
            order = self._labelled_rows(generator)
        size = min(self.plan.recipe.batch_size, len(order))
        rank, workers = self.plan.shard
        return [batch[rank::workers] for batch in bucketed(self.plan.train, order, size, generator)]

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
        loss, penalty = self._loss(rows), self._sparsity.penalty(self.model)
        if penalty is not None:
            loss = loss + penalty
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._sparsity.after_step(self.model)
        if self._average:
            self._average.update(self.model)
        return loss.detach()

    @property
    def _view(self) -> int:
        return self.epochs_done % self.plan.views if self.plan.views else self.epochs_done

    def _loss(self, rows: Tensor) -> Tensor:
        distillation, batch = self.plan.distillation, self._batch(rows)
        if distillation is None or self._loss_module is None:
            return self._label_loss(self._parts(batch, frozenset()), batch)
        parts = self._parts(batch, distillation.needs)
        distilled: Tensor = self._loss_module(
            self._student_outputs(parts), self._teacher_outputs(distillation, rows, batch, capture.masks_of(parts))
        )
        if distillation.weight == 1.0:
            return distilled
        return (1.0 - distillation.weight) * self._label_loss(parts, batch) + distillation.weight * distilled

    def _batch(self, rows: Tensor) -> Batch:
        """Return the examples of `rows` in the view of the current epoch."""
        plan = self.plan
        return augment.batch(self._train, rows.to(self._device), self._view, plan.augmentation, plan.view_seed)

    def _shrunk(self, name: str, inputs: Tensor) -> Tensor:
        """Return an input as the network takes it; in the first epochs of some recipes, images have half their size."""
        recipe = self.plan.recipe
        if self.epochs_done >= recipe.half_size_share * recipe.epochs or self._train.inputs[name].kind != "image":
            return inputs
        return functional.avg_pool2d(inputs, 2)

    def _student_outputs(self, parts: Mapping[str, Tensor]) -> dict[str, Output]:
        weights = dict(self.model.named_parameters()) if self._teachers_weights else {}
        return capture.outputs_from(parts, weights, self.plan.signature.classes)

    def _teacher_outputs(
        self, distillation: Distillation, rows: Tensor, batch: Batch, masks: Mapping[str, Tensor]
    ) -> dict[str, Output]:
        parts = {**distillation.query(self._view, rows, batch), **masks}  # masks are the batch's, and are not cached
        outputs = capture.outputs_from(parts, self._teachers_weights, self.plan.signature.classes)
        return {
            name: replace(output, labels=batch.labels(name), input_mask=batch.input_mask) for name, output in outputs.items()
        }

    def _parts(self, batch: Batch, needs: frozenset[Need]) -> dict[str, Tensor]:
        """Return the network's parts for a batch (`capture`), with logits in float32."""
        execution, inputs = self.plan.execution, {name: self._shrunk(name, tensor) for name, tensor in batch.inputs.items()}
        if execution.channels_last:
            inputs = {name: _channels_last(tensor) for name, tensor in inputs.items()}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=execution.bfloat16):
            parts = capture.capture(self.model, self.plan.task, replace(batch, inputs=inputs), needs)
        return {part: tensor.float() if part.startswith("logits.") else tensor for part, tensor in parts.items()}

    def _label_loss(self, parts: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the mean label loss over the labelled examples; in a mixed batch, weighted by the shares."""
        task, smoothing, sequences = self.plan.task, self.plan.recipe.label_smoothing, capture.sequences_from(parts)
        own, counts = task.loss(sequences, batch, smoothing), self._has_label(batch.targets)
        if batch.partner_targets is None or batch.share is None:
            return own.sum() / counts.sum().clamp(min=1)
        other = task.loss(sequences, with_targets(batch, batch.partner_targets), smoothing)
        shares = (batch.share, 1 - batch.share)
        counted = shares[0] * counts + shares[1] * self._has_label(batch.partner_targets)
        smallest = torch.finfo(counted.dtype).tiny
        return (shares[0] * own + shares[1] * other).sum() / counted.sum().clamp(min=smallest)

    def _has_label(self, targets: Mapping[str, Tensor]) -> Tensor:
        """Return booleans `[batch]`, True for examples with a label at one step at least."""
        found = [
            (tensor.unsqueeze(1) if tensor.ndim == 1 else tensor).flatten(1).ge(0).any(dim=1)
            if self._train.targets[name].kind == "class"
            else torch.ones(len(tensor), dtype=torch.bool, device=tensor.device)
            for name, tensor in targets.items()
        ]
        return torch.stack(found).any(dim=0)


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
