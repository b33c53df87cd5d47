"""What a network says of examples: its label sequence, and its stages' features and attention maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import Split
from tutelage.networks.capture import capture
from tutelage.networks.output import Need
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig
from tutelage.tasks import Task
from tutelage.training import augment


def each(
    model: nn.Module, task: Task, split: Split, rows: Tensor, *, needs: frozenset[Need] = frozenset(),
    view: int | None = None, augmentation: AugmentationConfig = AS_IT_IS, view_seed: int = 0, batch_size: int = 512,
) -> Iterator[dict[str, Tensor]]:  # fmt: skip
    """Give what `model` in evaluation mode says of the examples `rows`, by part (see `knowledge`), a batch at a time.

    With a `view`, of that view of them under `augmentation`; without, of the examples as they are. On the CPU, in float32.
    """
    policy = AS_IT_IS if view is None else augmentation
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        for some in rows.split(batch_size):
            with torch.inference_mode():
                seen = augment.batch(split, some, view or 0, policy, view_seed)
                parts = capture(model, task, seen.inputs.to(device), needs, _on(device, seen.mask))
            yield {part: tensor.float().cpu() for part, tensor in parts.items()}
    finally:
        model.train(was_training)


def outputs_of(
    model: nn.Module, task: Task, split: Split, *, needs: frozenset[Need] = frozenset(), view: int | None = None,
    augmentation: AugmentationConfig = AS_IT_IS, view_seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """Return what `each` gives of all examples, each part `[n, …]`."""
    rows = torch.arange(len(split))
    found = list(each(model, task, split, rows, needs=needs, view=view, augmentation=augmentation, view_seed=view_seed))
    return {part: torch.cat([parts[part] for parts in found]) for part in found[0]}


def _on(device: torch.device, mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.to(device)


Ask = Callable[[int, Tensor, augment.Batch], Mapping[str, Tensor]]


def live(model: nn.Module, task: Task, needs: frozenset[Need]) -> Ask:
    """Return a teacher that answers to what a student sees, (view, rows, batch) → parts, on the batch's device."""
    model.eval()

    @torch.no_grad()
    def asked(_view: int, _rows: Tensor, seen: augment.Batch) -> Mapping[str, Tensor]:
        return capture(model.to(seen.inputs.device), task, seen.inputs, needs, seen.mask)

    return asked


def logits_of(model: nn.Module, task: Task, split: Split) -> Tensor:
    """Return the label sequences `[n, steps, classes]` of the examples with `model` in evaluation mode."""
    return outputs_of(model, task, split)["logits"]


def accuracy_of(model: nn.Module, task: Task, split: Split) -> float:
    """Return the share of the split's steps that `model` gets right."""
    return float(task.correct(logits_of(model, task, split), split.labels).float().mean())


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> dict[str, float]:
    """Return how far a student repeats its teacher on the same examples, both `[n, steps, classes]`.

    `agreement` is the share of steps with the same top class; `teacher_kl_nats` the mean KL(teacher ‖ student) at T = 1.
    """
    same = (student_logits.argmax(-1) == teacher_logits.argmax(-1)).float().mean()
    student = functional.log_softmax(student_logits.flatten(0, 1), dim=-1)
    teacher = functional.log_softmax(teacher_logits.float().flatten(0, 1), dim=-1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return {"agreement": float(same), "teacher_kl_nats": float(divergence)}
