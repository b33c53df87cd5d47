"""The loss of one training step: the label loss and the distillation loss of some examples, in the view of an epoch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.data import Batch, Examples, has_label
from tutelage.losses import Loss
from tutelage.networks import capture, stages
from tutelage.networks.output import OF_TEACHER, Need, Output
from tutelage.tasks import FocusesSteps, LocatesObjects
from tutelage.training import augment, half_size
from tutelage.training.plan import Distillation, Phase, TrainingPlan


class StepLoss:
    """The loss of the steps of one phase, for a network and its plan.

    `examples` are the plan's training examples on the network's device. `module` is the distillation loss, None in a label-only
    phase; its adapters are trained with the network. They are initialised by the plan's seed, or inherit the state of the
    earlier phase's loss, `before`, where shapes fit: adapters, and initial values of terms.
    """

    def __init__(
        self, model: nn.Module, plan: TrainingPlan, examples: Examples, phase: Phase, before: StepLoss | None = None
    ) -> None:  # fmt: skip
        self._model, self._plan, self._examples = model, plan, examples
        self._device = next(model.parameters()).device
        self._teachers_weights: Mapping[str, Tensor] = {}
        self._head: nn.Module | None = None
        self._stages_of_steps: frozenset[str] = frozenset()
        self.module: Loss | None = None
        self._distillation = plan.distillation_in(phase)
        if self._distillation:
            self._head = copy.deepcopy(self._distillation.head).to(self._device) if self._distillation.head else None
            self._teachers_weights = {name: weight.to(self._device) for name, weight in self._distillation.weights.items()}
            if "pooled" in self._distillation.needs:
                self._stages_of_steps = stages.stages_of_steps(model, plan.signature)
            self.module = self._new_module(self._distillation, before.module if before else None)

    def _new_module(self, distillation: Distillation, before: Loss | None) -> Loss:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._plan.seed)
            loss = distillation.build(self._model).to(self._device)
        own, earlier = loss.state_dict(), before.state_dict() if before else {}
        fitting = {name: t for name, t in earlier.items() if name in own and own[name].shape == t.shape}
        loss.load_state_dict(fitting, strict=False)
        return loss

    def __call__(self, rows: Tensor, epoch: int) -> Tensor:
        """Return the loss of the examples `rows` in an epoch (from 0), a scalar with a gradient."""
        distillation, batch = self._distillation, self.batch(rows, epoch)
        own = self._in_size(batch, epoch)
        if distillation is None or self.module is None:
            return self.label_loss(self.parts(own, frozenset()), own)
        parts = self.parts(own, distillation.needs - OF_TEACHER)
        view = self._view(epoch)
        distilled: Tensor = self.module(
            self._student_outputs(parts), self._teacher_outputs(distillation, rows, view, batch, capture.masks_of(parts))
        )
        if distillation.weight == 1.0:
            return distilled
        return (1.0 - distillation.weight) * self.label_loss(parts, own) + distillation.weight * distilled

    def _view(self, epoch: int) -> int:
        return epoch % self._plan.views if self._plan.views else epoch

    def batch(self, rows: Tensor, epoch: int) -> Batch:
        """Return the examples `rows` in the view of an epoch, on the network's device."""
        plan = self._plan
        return augment.batch(self._examples, rows.to(self._device), self._view(epoch), plan.augmentation, plan.view_seed)

    def _in_size(self, batch: Batch, epoch: int) -> Batch:
        """Return a batch as the network takes it; in the first epochs of some recipes, images have half their size."""
        recipe = self._plan.recipe
        return batch if epoch >= recipe.half_size_share * recipe.epochs else half_size.halved(batch, self._examples)

    def parts(self, batch: Batch, needs: frozenset[Need]) -> dict[str, Tensor]:
        """Return the network's parts for a batch (`capture`), with logits in float32."""
        execution, inputs = self._plan.execution, batch.inputs
        if execution.channels_last:
            inputs = {name: _channels_last(tensor) for name, tensor in inputs.items()}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=execution.bfloat16):
            parts = capture.capture(self._model, self._plan.task, replace(batch, inputs=inputs), needs, self._stages_of_steps)
        return {part: tensor.float() if part.startswith("logits.") else tensor for part, tensor in parts.items()}

    def _student_outputs(self, parts: Mapping[str, Tensor]) -> dict[str, Output]:
        weights = dict(self._model.named_parameters()) if self._teachers_weights else {}
        return capture.outputs_from(parts, weights, self._plan.signature.classes)

    def _teacher_outputs(
        self, distillation: Distillation, rows: Tensor, view: int, batch: Batch, masks: Mapping[str, Tensor]
    ) -> dict[str, Output]:
        parts = {**distillation.query(view, rows, batch), **masks}  # masks are the batch's, and are not cached
        outputs = capture.outputs_from(parts, self._teachers_weights, self._plan.signature.classes)
        task, is_dense = self._plan.task, all(f"logits.{name}" in parts for name in outputs)
        focus = task.focus(capture.sequences_from(parts), batch) if is_dense and isinstance(task, FocusesSteps) else {}
        regions = task.regions(batch) if isinstance(task, LocatesObjects) else None
        return {
            name: replace(
                output, labels=batch.labels(name), input_mask=batch.input_mask, focus=focus.get(name), regions=regions,
                head=self._head,
            )
            for name, output in outputs.items()
        }  # fmt: skip

    def label_loss(self, parts: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the mean label loss over the labelled examples; in a mixed batch, weighted by the shares."""
        task, smoothing, sequences = self._plan.task, self._plan.recipe.label_smoothing, capture.sequences_from(parts)
        own, counts = task.loss(sequences, batch, smoothing), self._has_label(batch.targets, batch.masks)
        if batch.partner_targets is None or batch.share is None:
            return own.sum() / counts.sum().clamp(min=1)
        other = task.loss(sequences, replace(batch, targets=batch.partner_targets), smoothing)
        shares = (batch.share, 1 - batch.share)
        counted = shares[0] * counts + shares[1] * self._has_label(batch.partner_targets, {})
        smallest = torch.finfo(counted.dtype).tiny
        return (shares[0] * own + shares[1] * other).sum() / counted.sum().clamp(min=smallest)

    def _has_label(self, targets: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        """Return booleans `[batch]`, True for examples with a label at one step at least, or with none to have."""
        found = [
            has_label(targets[name], masks.get(name))
            if self._examples.targets[name].kind == "class"
            else targets[name].new_ones(len(targets[name]), dtype=torch.bool)
            for name in self._examples.labels
        ]
        return torch.stack(found).any(dim=0)


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
